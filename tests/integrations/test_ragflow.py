"""RAGFlow: the requests that it sends, answered as it reads them."""

from __future__ import annotations

import numpy as np
import pytest
from corpus import ANSWERS
from replay import QUESTION, load, of_kind

PRODUCT = "ragflow"


@pytest.mark.parametrize("replay", of_kind(PRODUCT, "embedding"), ids=str)
def test_texts_become_the_client_s_vectors(replay, service, model, key, client):
    """Each text has its own vector, where the product looks for it."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    np.testing.assert_allclose(
        client.encode(replay.texts).dense, replay.vectors(response.json()), atol=1e-5
    )
    replay.check_reads(response.json())


@pytest.mark.parametrize("replay", of_kind(PRODUCT, "rerank"), ids=str)
def test_documents_are_scored_by_index(replay, service, model, key):
    """From 0 to 1, as it blends them with other scores; the answer is the best."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    scores = replay.scores(response.json())
    assert np.all((scores > 0) & (scores <= 1))
    if QUESTION in response.request.content.decode():
        assert ANSWERS[QUESTION] == replay.texts[int(np.argmax(scores))]
    replay.check_reads(response.json())


@pytest.mark.parametrize("replay", load(PRODUCT), ids=str)
def test_request_names_its_source(replay):
    """Repository, path and commit: who doubts it can look."""
    source = replay.record["source"]

    assert "infiniflow/ragflow" == source["repository"]
    assert 40 == len(source["commit"])
