"""Haystack: our embedders, alone and in pipelines."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from corpus import ANSWERS, TEXTS
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.core.errors import PipelineConnectError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

from bgem3_client import InvalidInputError
from bgem3_client.integrations.haystack import BGEM3DocumentEmbedder, BGEM3TextEmbedder


def test_query_has_both_embeddings(url, client):
    """From one forward pass, with what it cost."""
    expected = client.encode([TEXTS[0]], {"dense", "sparse"})[0]

    answer = BGEM3TextEmbedder(url=url).run(TEXTS[0])

    np.testing.assert_allclose(expected.dense, answer["embedding"], atol=1e-5)
    assert expected.sparse.indices.tolist() == answer["sparse_embedding"].indices
    np.testing.assert_allclose(expected.sparse.values, answer["sparse_embedding"].values, atol=1e-5)
    tokens = expected.token_length
    assert {"prompt_tokens": tokens, "total_tokens": tokens} == answer["meta"]["usage"]
    assert answer["meta"]["truncated"] is False


def test_documents_come_back_with_both_embeddings(url, client):
    """As copies, in order, ids unchanged; those that were cut are named."""
    documents = [Document(content=text) for text in [*TEXTS, "word " * 60]]
    expected = client.encode([document.content for document in documents], max_length=40).dense

    answer = BGEM3DocumentEmbedder(url=url, max_length=40).run(documents)

    assert [d.id for d in documents] == [d.id for d in answer["documents"]]
    np.testing.assert_allclose(expected, [d.embedding for d in answer["documents"]], atol=1e-5)
    assert all(document.sparse_embedding.indices for document in answer["documents"])
    assert [None] * len(documents) == [document.embedding for document in documents]
    assert [documents[-1].id] == answer["meta"]["truncated"]


def test_no_documents_are_no_documents():
    """Nothing is sent."""
    answer = BGEM3DocumentEmbedder(url="grpc://127.0.0.1:1").run([])

    assert [] == answer["documents"]


def test_fields_of_meta_are_embedded_with_the_content(triton, client):
    """In the order named; a document may lack one, or its content."""
    documents = [
        Document(content="the content", meta={"title": "A title", "year": 2026}),
        Document(content="the content"),
        Document(meta={"title": "A title"}),
    ]
    texts = ["A title | 2026 | the content", "the content", "A title | "]
    embedder = BGEM3DocumentEmbedder(
        url=triton.grpc, meta_fields_to_embed=["title", "year"], embedding_separator=" | "
    )

    found = embedder.run(documents)["documents"]

    np.testing.assert_allclose(
        client.encode(texts).dense, [document.embedding for document in found], atol=1e-5
    )


def test_pipelines_find_the_answer(url):
    """Documents written by one pipeline are found by another, both restored from YAML."""
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    indexing = Pipeline()
    indexing.add_component("embedder", BGEM3DocumentEmbedder(url=url))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder.documents", "writer.documents")
    indexing.run({"embedder": {"documents": [Document(content=text) for text in TEXTS]}})
    searching = Pipeline()
    restored = Pipeline.loads(_alone(url), allowed_modules=["bgem3_client.*"])
    searching.add_component("embedder", BGEM3TextEmbedder.from_dict(_only(restored).to_dict()))
    searching.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    searching.connect("embedder.embedding", "retriever.query_embedding")

    for question in [question for question in ANSWERS if "QX" not in question]:
        answer = searching.run({"embedder": {"text": question}})

        assert [ANSWERS[question]] == [d.content for d in answer["retriever"]["documents"]]


def _alone(url):
    pipeline = Pipeline()
    pipeline.add_component("embedder", BGEM3TextEmbedder(url=url))
    return pipeline.dumps()


def _only(pipeline):
    return pipeline.get_component("embedder")


def test_asynchronous_run_gives_the_same(triton):
    """Both embedders."""
    text = BGEM3TextEmbedder(url=triton.grpc)
    documents = BGEM3DocumentEmbedder(url=triton.grpc)

    async def run():
        return await asyncio.gather(
            text.run_async(TEXTS[0]), documents.run_async([Document(content=TEXTS[0])])
        )

    query, indexed = asyncio.run(run())

    np.testing.assert_allclose(query["embedding"], indexed["documents"][0].embedding, atol=1e-5)


def test_dense_alone_has_no_sparse_output():
    """A pipeline that would wait for one is refused when it is built."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", BGEM3TextEmbedder(sparse=False))
    pipeline.add_component("other", BGEM3TextEmbedder())

    with pytest.raises(PipelineConnectError, match="sparse_embedding"):
        pipeline.connect("embedder.sparse_embedding", "other.text")


@pytest.mark.parametrize("kind", [BGEM3TextEmbedder, BGEM3DocumentEmbedder])
def test_serialised_component_is_the_same(kind, monkeypatch):
    """The key is stored as the name of its variable."""
    monkeypatch.setenv("MY_KEY", "secret")
    component = kind(
        url="bgem3://somewhere:33330",
        api_key=Secret.from_env_var("MY_KEY"),
        sparse=False,
        max_length=512,
        truncate=False,
        timeout_seconds=7,
    )

    data = component.to_dict()
    again = kind.from_dict(data)

    assert "secret" not in repr(data)
    assert component.to_dict() == again.to_dict()
    assert "secret" == again.api_key.resolve_value()


def test_wrong_kind_of_input_names_the_other_embedder():
    """The two are easily mistaken for each other."""
    with pytest.raises(TypeError, match="BGEM3DocumentEmbedder"):
        BGEM3TextEmbedder().run([Document(content="a")])
    with pytest.raises(TypeError, match="BGEM3TextEmbedder"):
        BGEM3DocumentEmbedder().run("a")


def test_wrong_url_is_said_at_warm_up():
    """Before the first document is on its way."""
    with pytest.raises(InvalidInputError, match="not a server address"):
        BGEM3TextEmbedder(url="nowhere").warm_up()
