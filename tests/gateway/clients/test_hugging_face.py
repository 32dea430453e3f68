"""`huggingface_hub`, and Haystack's components made on it, against the routes of TEI."""

from __future__ import annotations

import asyncio

import pytest
from example_texts import TEXTS
from haystack import Document
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from numpy.testing import assert_allclose


@pytest.mark.parametrize("path", ["", "/embed"])
def test_feature_extraction(service_url, embeddings, path):
    """With the service's URL alone, and with that of the route."""
    client = InferenceClient(model=f"{service_url}{path}")

    assert_allclose(client.feature_extraction(TEXTS), embeddings.dense, atol=1e-5)
    assert_allclose(client.feature_extraction(TEXTS[0]), embeddings.dense[:1], atol=1e-5)


def test_feature_extraction_options(service_url, embeddings):
    """What the service cannot do is an error of its own words, not another vector."""
    client = InferenceClient(model=service_url)
    raw = client.feature_extraction(
        TEXTS, normalize=False, truncate=True, truncation_direction="right", dimensions=384
    )

    assert_allclose(raw, [states[0] for states in embeddings.hidden_states], atol=1e-4)
    for options, message in (
        ({"truncation_direction": "left"}, "cuts long texts at their end"),
        ({"prompt_name": "query"}, "has no prompts"),
        ({"dimensions": 128}, "have 384 numbers"),
    ):
        with pytest.raises(HfHubHTTPError, match=message):
            client.feature_extraction(TEXTS[0], **options)


def test_long_text(service_url):
    """An error by default, of TEI's status."""
    with pytest.raises(HfHubHTTPError, match="max_length is 8192") as raised:
        InferenceClient(model=service_url).feature_extraction("word " * 9000)

    assert 413 == raised.value.response.status_code


@pytest.mark.parametrize("path", ["", "/similarity"])
def test_sentence_similarity(service_url, embeddings, path):
    """Cosines of the dense vectors."""
    client = InferenceClient(model=f"{service_url}{path}")

    assert_allclose(
        client.sentence_similarity(TEXTS[0], TEXTS[1:]),
        embeddings.dense[1:] @ embeddings.dense[0],
        atol=1e-5,
    )


def test_async(service_url, embeddings):
    """The asyncio client."""

    async def extract():
        async with AsyncInferenceClient(model=service_url) as client:
            return await client.feature_extraction(TEXTS)

    assert_allclose(asyncio.run(extract()), embeddings.dense, atol=1e-5)


def test_haystack_dense(service_url, embeddings):
    """HuggingFaceAPITextEmbedder and HuggingFaceAPIDocumentEmbedder; they do not normalise."""
    module = pytest.importorskip("haystack_integrations.components.embedders.huggingface_api")
    options = {
        "api_type": "text_embeddings_inference",
        "api_params": {"url": service_url},
        "token": None,
    }
    vector = module.HuggingFaceAPITextEmbedder(**options, normalize=True).run(TEXTS[0])
    raw = module.HuggingFaceAPITextEmbedder(**options).run(TEXTS[0])
    documents = module.HuggingFaceAPIDocumentEmbedder(
        **options, normalize=True, progress_bar=False
    ).run([Document(content=text) for text in TEXTS])["documents"]

    assert_allclose(vector["embedding"], embeddings.dense[0], atol=1e-5)
    assert_allclose(raw["embedding"], embeddings.hidden_states[0][0], atol=1e-4)
    assert_allclose([document.embedding for document in documents], embeddings.dense, atol=1e-5)


def test_haystack_sparse(service_url, embeddings):
    """HuggingFaceTEISparseTextEmbedder reads /embed_sparse."""
    module = pytest.importorskip("haystack_integrations.components.embedders.huggingface_api")
    embedder = module.HuggingFaceTEISparseTextEmbedder(api_base_url=service_url, token=None)
    sparse = embedder.run(TEXTS[0])["sparse_embedding"]

    assert embeddings.sparse[0].indices.tolist() == sparse.indices
    assert_allclose(sparse.values, embeddings.sparse[0].values, atol=1e-5)


def test_haystack_ranker(service_url):
    """HuggingFaceTEIRanker reads /rerank."""
    module = pytest.importorskip("haystack_integrations.components.rankers.huggingface_api")
    ranker = module.HuggingFaceTEIRanker(url=service_url, token=None, top_k=1)
    documents = [Document(content=text) for text in ("今天天气很好", "微信支付密码忘了怎么办")]

    best = ranker.run(query=TEXTS[0], documents=documents)["documents"]

    assert ["微信支付密码忘了怎么办"] == [document.content for document in best]
