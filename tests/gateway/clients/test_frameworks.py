"""LangChain, LlamaIndex and Haystack, by their own classes for OpenAI's dialect and TEI's."""

from __future__ import annotations

import asyncio

import openai
import pytest
import tiktoken
from example_texts import TEXTS
from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from numpy.testing import assert_allclose


def langchain(service_url, **options):
    return OpenAIEmbeddings(
        base_url=f"{service_url}/v1", api_key="none", model="bge_m3", max_retries=0, **options
    )


def test_langchain(service_url, embeddings):
    """With check_embedding_ctx_length=False it sends the texts."""
    model = langchain(service_url, check_embedding_ctx_length=False)

    assert_allclose(model.embed_documents(TEXTS), embeddings.dense, atol=1e-5)
    assert_allclose(model.embed_query(TEXTS[0]), embeddings.dense[0], atol=1e-5)
    assert_allclose(asyncio.run(model.aembed_documents(TEXTS)), embeddings.dense, atol=1e-5)


def test_langchain_by_default(service_url, monkeypatch):
    """It sends token ids of OpenAI's tokenizer, and the error says what to set."""
    # The true one is downloaded when it is first used. This one's ids are bytes.
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding(
        "bytes", pat_str=r"(?s).", mergeable_ranks=ranks, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)

    with pytest.raises(openai.BadRequestError, match="set check_embedding_ctx_length=False"):
        langchain(service_url).embed_documents(["a text"])


def test_llama_index_openai_like(service_url, embeddings):
    """OpenAILikeEmbedding."""
    model = OpenAILikeEmbedding("bge_m3", api_base=f"{service_url}/v1", api_key="none")

    # LlamaIndex makes spaces of line breaks before it sends them.
    vectors = model.get_text_embedding_batch(TEXTS[:2])
    assert_allclose(vectors, embeddings.dense[:2], atol=1e-5)
    assert_allclose(model.get_query_embedding(TEXTS[0]), embeddings.dense[0], atol=1e-5)
    vectors = asyncio.run(model.aget_text_embedding_batch(TEXTS[:2]))
    assert_allclose(vectors, embeddings.dense[:2], atol=1e-5)


def test_llama_index_text_embeddings_inference(service_url, embeddings):
    """TextEmbeddingsInference, which asks for truncation."""
    # By the names of some models it puts an instruction before texts; not by this one.
    model = TextEmbeddingsInference("bge_m3", base_url=service_url)

    assert_allclose(model.get_text_embedding_batch(TEXTS), embeddings.dense, atol=1e-5)
    assert_allclose(model.get_query_embedding(TEXTS[0]), embeddings.dense[0], atol=1e-5)
    vector = asyncio.run(model.aget_query_embedding(TEXTS[0]))
    assert_allclose(vector, embeddings.dense[0], atol=1e-5)


def test_haystack_openai(service_url, embeddings):
    """OpenAITextEmbedder and OpenAIDocumentEmbedder."""
    options = {
        "api_base_url": f"{service_url}/v1",
        "api_key": Secret.from_token("none"),
        "model": "bge_m3",
    }
    answer = OpenAITextEmbedder(**options).run(TEXTS[0])
    documents = OpenAIDocumentEmbedder(**options, progress_bar=False).run(
        [Document(content=text) for text in TEXTS]
    )["documents"]

    assert "bge-m3-demo" == answer["meta"]["model"]
    assert_allclose(answer["embedding"], embeddings.dense[0], atol=1e-5)
    assert_allclose([document.embedding for document in documents], embeddings.dense, atol=1e-5)
