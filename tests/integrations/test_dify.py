"""Dify: the requests that it sends, answered as it reads them."""

from __future__ import annotations

import numpy as np
import pytest
from corpus import ANSWERS
from replay import QUESTION, load, of_kind

PRODUCT = "dify"


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
    """The answer to the question is the best."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    scores = replay.scores(response.json())
    assert ANSWERS[QUESTION] == replay.texts[int(np.argmax(scores))]
    replay.check_reads(response.json())


@pytest.mark.parametrize("replay", of_kind(PRODUCT, "read"), ids=str)
def test_everything_that_is_read_is_there(replay, service, model, key):
    """What it asks beside embeddings and scores."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    replay.check_reads(response.json())


def test_long_text_is_cut_by_the_tokens_that_tokenize_gives(service, model, key):
    """Its text-embeddings-inference plugin cuts at a token's ``start``, in characters."""
    tokenize = next(replay for replay in load(PRODUCT) if "/tokenize" == replay.record["path"])
    answer = tokenize.send(service, model=model, key=key).json()

    for text, tokens in zip(tokenize.texts, answer, strict=True):
        starts = [token["start"] for token in tokens[1:-1]]
        assert [True, True] == [tokens[0]["special"], tokens[-1]["special"]]
        assert sorted(starts) == starts
        assert [0, len(text)] == [starts[0], tokens[-2]["stop"]]


@pytest.mark.parametrize("replay", load(PRODUCT), ids=str)
def test_request_names_its_source(replay):
    """Repository, path and commit: who doubts it can look."""
    source = replay.record["source"]

    assert source["repository"].startswith("langgenius/")
    assert 40 == len(source["commit"])
