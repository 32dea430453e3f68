"""RAGFlow, Dify and AnythingLLM: the requests that they send, answered as they read them."""

from __future__ import annotations

import numpy as np
import pytest
from corpus import ANSWERS
from replay import QUESTION, load, of_kind, read

REPOSITORIES = {
    "ragflow": "infiniflow/ragflow",
    "dify": "langgenius/",
    "anythingllm": "Mintplex-Labs/anything-llm",
}


def replays(kind):
    """Parametrize over the requests of one kind, of all products."""
    chosen = [(f"{product}-{r}", r) for product in REPOSITORIES for r in of_kind(product, kind)]
    return pytest.mark.parametrize(
        "replay", [replay for _, replay in chosen], ids=[name for name, _ in chosen]
    )


@replays("embedding")
def test_texts_become_the_client_s_vectors(replay, service, model, key, client):
    """Each text has its own vector, where the product looks for it."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    np.testing.assert_allclose(
        client.encode(replay.texts).dense, replay.vectors(response.json()), atol=1e-5
    )
    replay.check_reads(response.json())


@replays("rerank")
def test_documents_are_scored_by_index(replay, service, model, key):
    """From 0 to 1, as RAGFlow blends them with other scores; the answer is the best."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    scores = replay.scores(response.json())
    assert np.all((scores > 0) & (scores <= 1))
    if QUESTION in response.request.content.decode():
        assert ANSWERS[QUESTION] == replay.texts[int(np.argmax(scores))]
    replay.check_reads(response.json())


@replays("read")
def test_everything_that_is_read_is_there(replay, service, model, key):
    """What they ask beside embeddings and scores."""
    response = replay.send(service, model=model, key=key)

    assert 200 == response.status_code, response.text
    replay.check_reads(response.json())


def test_anythingllm_finds_the_model_in_its_list(service, model, key):
    """Its form offers what ``/v1/models`` lists."""
    (models,) = [r for r in of_kind("anythingllm", "read") if "/models" in r.record["path"]]

    assert model in list(read(models.send(service, model=model, key=key).json(), "data.*.id"))


def test_dify_cuts_long_texts_by_the_tokens_that_tokenize_gives(service, model, key):
    """Its text-embeddings-inference plugin cuts at a token's ``start``, in characters."""
    tokenize = next(replay for replay in load("dify") if "/tokenize" == replay.record["path"])
    answer = tokenize.send(service, model=model, key=key).json()

    for text, tokens in zip(tokenize.texts, answer, strict=True):
        starts = [token["start"] for token in tokens[1:-1]]
        assert [True, True] == [tokens[0]["special"], tokens[-1]["special"]]
        assert sorted(starts) == starts
        assert [0, len(text)] == [starts[0], tokens[-2]["stop"]]


@pytest.mark.parametrize("product", REPOSITORIES)
def test_requests_name_their_sources(product):
    """Repository, path and commit: who doubts it can look."""
    for replay in load(product):
        source = replay.record["source"]

        assert source["repository"].startswith(REPOSITORIES[product])
        assert 40 == len(source["commit"])
