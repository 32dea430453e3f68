"""AnythingLLM: the requests that it sends, answered as it reads them."""

from __future__ import annotations

import numpy as np
import pytest
from replay import load, of_kind, read

PRODUCT = "anythingllm"


@pytest.mark.parametrize("replay", of_kind(PRODUCT, "embedding"), ids=str)
def test_texts_become_the_client_s_vectors(replay, service, model, key, client):
    """Each text has its own vector, where the product looks for it."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    np.testing.assert_allclose(
        client.encode(replay.texts).dense, replay.vectors(response.json()), atol=1e-5
    )
    replay.check_reads(response.json())


@pytest.mark.parametrize("replay", of_kind(PRODUCT, "read"), ids=str)
def test_everything_that_is_read_is_there(replay, service, model, key):
    """What it asks beside embeddings."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    assert model in list(read(response.json(), "data.*.id"))


@pytest.mark.parametrize("replay", load(PRODUCT), ids=str)
def test_request_names_its_source(replay):
    """Repository, path and commit: who doubts it can look."""
    source = replay.record["source"]

    assert "Mintplex-Labs/anything-llm" == source["repository"]
    assert 40 == len(source["commit"])
