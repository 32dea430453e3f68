"""LlamaIndex: our embeddings, and an index that finds answers with them."""

from __future__ import annotations

import asyncio
import json
import pickle

import numpy as np
import pytest
from corpus import ANSWERS, TEXTS
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode

from bgem3_client.integrations.llama_index import BGEM3Embedding, BGEM3SparseEmbedding


def test_vectors_are_the_client_s(url, client):
    """One text, many, a query; synchronous and not."""
    model = BGEM3Embedding(url=url)
    expected = client.encode(TEXTS).dense

    async def encode():
        return (
            await model.aget_text_embedding_batch(TEXTS),
            await model.aget_text_embedding(TEXTS[1]),
            await model.aget_query_embedding(TEXTS[1]),
        )

    many, one, query = asyncio.run(encode())

    np.testing.assert_allclose(expected, model.get_text_embedding_batch(TEXTS), atol=1e-5)
    np.testing.assert_allclose(expected[1], model.get_text_embedding(TEXTS[1]), atol=1e-5)
    np.testing.assert_allclose(expected[1], model.get_query_embedding(TEXTS[1]), atol=1e-5)
    np.testing.assert_allclose(expected, many, atol=1e-5)
    np.testing.assert_allclose([expected[1]] * 2, [one, query], atol=1e-5)


def test_sparse_weights_are_the_client_s(url, client):
    """As LlamaIndex's sparse embedding, and as the functions that its Qdrant store takes."""
    model = BGEM3SparseEmbedding(url=url)
    expected = [row.as_dict() for row in client.encode(TEXTS, {"sparse"}).sparse]

    many = model.get_text_embedding_batch(TEXTS)
    indices, values = model.encode(TEXTS)
    query = asyncio.run(model.aget_query_embedding(TEXTS[0]))

    as_functions = [dict(zip(*row, strict=True)) for row in zip(indices, values, strict=True)]
    for found in (many, as_functions):
        assert len(expected) == len(found)
        for wanted, given in zip(expected, found, strict=True):
            assert wanted == pytest.approx(given, abs=1e-5)
    assert expected[0] == pytest.approx(query, abs=1e-5)
    assert ([], []) == model.encode([])


@pytest.mark.parametrize("question", [question for question in ANSWERS if "QX" not in question])
def test_index_finds_the_answer(triton, question):
    """In LlamaIndex's own store."""
    nodes = [TextNode(text=text) for text in TEXTS]
    index = VectorStoreIndex(nodes, embed_model=BGEM3Embedding(url=triton.grpc))

    (found,) = index.as_retriever(similarity_top_k=1).retrieve(question)

    assert ANSWERS[question] == found.node.get_content()


def test_sparse_similarity_knows_the_serial_number(triton):
    """What has no meaning is found by its letters."""
    model = BGEM3SparseEmbedding(url=triton.grpc)
    query = model.get_query_embedding("QX-7741-B")

    rows = model.get_text_embedding_batch(TEXTS)
    scores = [model.similarity(query, row) for row in rows]

    assert "QX-7741-B" in TEXTS[int(np.argmax(scores))]


@pytest.mark.parametrize("kind", [BGEM3Embedding, BGEM3SparseEmbedding])
def test_serialised_settings_make_the_same_model(kind):
    """By LlamaIndex's own conventions, without the key."""
    model = kind(url="grpc://somewhere:8001", api_key="secret", max_length=512)

    data = model.model_dump()
    again = kind(**{name: value for name, value in data.items() if name != "class_name"})

    assert kind.__name__ == data["class_name"] == kind.class_name()
    assert "secret" not in json.dumps(data)
    assert ("grpc://somewhere:8001", 512) == (again.url, again.max_length)


def test_pickled_model_works(triton):
    """As LlamaIndex's pipelines with several processes need it."""
    model = BGEM3Embedding(url=triton.grpc)
    vector = model.get_query_embedding("a text")

    again = pickle.loads(pickle.dumps(model))

    np.testing.assert_allclose(vector, again.get_query_embedding("a text"), atol=1e-5)
