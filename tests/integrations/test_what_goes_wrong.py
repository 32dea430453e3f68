"""What users of these products run into first, and what the service tells them then.

The rows "What goes wrong, and how it looks" of docs/integrations rest on this.
"""

from __future__ import annotations

import httpx
import pytest
from replay import load, of_kind

PRODUCTS = ["anythingllm", "dify", "ragflow"]
KEYLESS = [
    replay for product in PRODUCTS for replay in load(product) if replay.record.get("keyless")
]
OPENAI = [
    replay
    for product in PRODUCTS
    for replay in of_kind(product, "embedding")
    if "model" in replay.record["body"] and not replay.record.get("keyless")
]


@pytest.fixture
def keyed(keyed_service_url):
    """An HTTP client of the service with keys."""
    with httpx.Client(base_url=keyed_service_url, timeout=60) as client:
        yield client


def message(response):
    """Return what the products show of an error: its message, wherever the dialect has it."""
    error = response.json()["error"]
    return error["message"] if isinstance(error, dict) else error


@pytest.mark.parametrize("replay", KEYLESS, ids=str)
def test_product_without_a_key_is_refused(replay, keyed, model, key):
    """Not with a page and not with a crash: 401, in words."""
    response = replay.send(keyed, model=model, key=key)

    assert 401 == response.status_code
    assert "key" in message(response)


@pytest.mark.parametrize("replay", OPENAI, ids=str)
def test_unknown_model_is_told_the_known_ones(replay, keyed, key):
    """OpenAI's libraries show `error.message`."""
    response = replay.send(keyed, model="bge-large-zh", key=key)

    assert 404 == response.status_code
    assert "there is no model 'bge-large-zh' here" in response.json()["error"]["message"]
    assert "bge_m3" in response.json()["error"]["message"]


def test_slash_behind_the_base_url_shows_the_path(keyed, key):
    """RAGFlow makes `/v1/v1` of `/v1/`; the message has the path that was asked for."""
    response = keyed.post("/v1/v1/embeddings", headers={"authorization": f"Bearer {key}"}, json={})

    assert 404 == response.status_code
    assert "there is nothing at /v1/v1/embeddings" in message(response)


def test_a_thousand_chunks_of_a_thousand_chinese_characters_are_too_many(keyed, model, key):
    """Twice what AnythingLLM sends at once unless told otherwise; nothing of it is computed."""
    chunk = ("微信支付密码忘了可以在钱包设置里重置。" * 60)[:996]
    # Equal ones would be computed once, and count once.
    chunks = [f"{number:04}{chunk}" for number in range(1000)]

    response = keyed.post(
        "/v1/embeddings",
        headers={"authorization": f"Bearer {key}"},
        json={"model": model, "input": chunks, "encoding_format": "base64"},
    )

    assert 413 == response.status_code
    assert "tokens together, and this service takes 524288 at once" in message(response)


def test_chunk_that_is_too_long_is_said(keyed, model, key):
    """With its number, and what would cut it."""
    response = keyed.post(
        "/v1/embeddings",
        headers={"authorization": f"Bearer {key}"},
        json={"model": model, "input": ["short", "word " * 9000]},
    )

    assert 400 == response.status_code
    assert "the text has 9002 tokens" in message(response)
    assert 1 == response.json()["error"]["index"]


def test_dify_s_picture_of_a_text_is_refused_in_words(keyed, model, key):
    """Some versions of its plugin send a chat's messages instead of `input`."""
    response = keyed.post(
        "/v1/embeddings",
        headers={"authorization": f"Bearer {key}"},
        json={"model": model, "messages": [{"role": "user", "content": []}]},
    )

    assert 400 == response.status_code
    assert "input: field required" in message(response)


def test_tei_of_dify_sees_an_embedding_model(keyed, key):
    """It takes the first kind for the only one, and so refuses to rerank here."""
    response = keyed.get("/info", headers={"authorization": f"Bearer {key}"})

    assert ["embedding"] == list(response.json()["model_type"])
