"""LangChain: our embeddings, alone and in its Qdrant and Milvus stores."""

from __future__ import annotations

import asyncio
import copy
import pickle

import numpy as np
import pytest
from corpus import ANSWERS, TEXTS
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_milvus import Milvus
from langchain_qdrant import QdrantVectorStore, RetrievalMode

from bgem3_client import InvalidInputError
from bgem3_client.integrations.langchain import BGEM3Embeddings
from bgem3_client.integrations.langchain_milvus import BGEM3SparseEmbedding
from bgem3_client.integrations.langchain_qdrant import BGEM3SparseEmbeddings

NOTHING_DROPPED = {"drop_ratio_build": 0.0}


def best(store, question):
    """Return the text that a store finds first."""
    (document,) = store.similarity_search(question, k=1)
    return document.page_content


def test_vectors_are_the_client_s(url, client):
    """Documents and queries alike, in order, as plain lists of floats."""
    embeddings = BGEM3Embeddings(url=url)
    expected = client.encode(TEXTS).dense

    documents = embeddings.embed_documents(TEXTS)
    query = embeddings.embed_query(TEXTS[2])

    assert isinstance(embeddings, Embeddings)
    assert [list] * len(TEXTS) == [type(row) for row in documents]
    np.testing.assert_allclose(expected, documents, atol=1e-5)
    np.testing.assert_allclose(expected[2], query, atol=1e-5)


def test_asynchronous_methods_give_the_same(url):
    """Also from an event loop, several at once."""
    embeddings = BGEM3Embeddings(url=url)

    async def encode():
        return await asyncio.gather(
            embeddings.aembed_documents(TEXTS), embeddings.aembed_query(TEXTS[0])
        )

    documents, query = asyncio.run(encode())

    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), documents, atol=1e-5)
    np.testing.assert_allclose(documents[0], query, atol=1e-5)


def test_no_documents_are_no_vectors():
    """Stores pass empty lists; nothing is sent."""
    unreachable = "grpc://127.0.0.1:1"

    assert [] == BGEM3Embeddings(url=unreachable).embed_documents([])
    assert [] == BGEM3SparseEmbeddings(url=unreachable).embed_documents([])
    assert [] == BGEM3SparseEmbedding(url=unreachable).embed_documents([])


@pytest.mark.parametrize("question", [question for question in ANSWERS if "QX" not in question])
def test_dense_retrieval_finds_the_answer(triton, question):
    """In LangChain's own store."""
    store = InMemoryVectorStore(BGEM3Embeddings(url=triton.grpc))
    store.add_texts(TEXTS)

    assert ANSWERS[question] == best(store, question)


@pytest.fixture(scope="module")
def qdrant(triton):
    """A Qdrant in memory that searches both ways."""
    return QdrantVectorStore.from_texts(
        TEXTS,
        embedding=BGEM3Embeddings(url=triton.grpc),
        sparse_embedding=BGEM3SparseEmbeddings(url=triton.grpc),
        location=":memory:",
        collection_name="texts",
        retrieval_mode=RetrievalMode.HYBRID,
    )


@pytest.fixture(scope="module")
def milvus(triton, tmp_path_factory):
    """A Milvus in a local file that searches both ways."""
    return Milvus.from_texts(
        TEXTS,
        embedding=[
            BGEM3Embeddings(url=triton.grpc),
            BGEM3SparseEmbedding(url=triton.grpc),
        ],
        vector_field=["dense", "sparse"],
        index_params=[
            {"metric_type": "COSINE", "index_type": "FLAT"},
            # Milvus Lite drops nothing, and langchain_milvus asks for it unless told otherwise.
            {"metric_type": "IP", "index_type": "SPARSE_INVERTED_INDEX", "params": NOTHING_DROPPED},
        ],
        connection_args={"uri": str(tmp_path_factory.mktemp("milvus") / "texts.db")},
    )


@pytest.mark.parametrize("question", ANSWERS)
def test_hybrid_retrieval_in_qdrant_finds_the_answer(qdrant, question):
    """By meaning, across languages' own words, and by a serial number that has no meaning."""
    assert ANSWERS[question] == best(qdrant, question)


@pytest.mark.parametrize("question", ANSWERS)
def test_hybrid_retrieval_in_milvus_finds_the_answer(milvus, question):
    """The same questions, the same answers."""
    documents = milvus.similarity_search(question, k=1, param=[{}, {"params": NOTHING_DROPPED}])

    assert [ANSWERS[question]] == [document.page_content for document in documents]


def test_sparse_weights_are_the_client_s(url, client):
    """Token ids and weights, for Qdrant as arrays, for Milvus as dictionaries."""
    expected = [row.as_dict() for row in client.encode(TEXTS, {"sparse"}).sparse]

    vectors = BGEM3SparseEmbeddings(url=url).embed_documents(TEXTS)
    weights = BGEM3SparseEmbedding(url=url).embed_documents(TEXTS)
    query = BGEM3SparseEmbeddings(url=url).embed_query(TEXTS[0])

    for_qdrant = [dict(zip(row.indices, row.values, strict=True)) for row in vectors]
    for found in (for_qdrant, weights):
        assert [row.keys() for row in expected] == [row.keys() for row in found]
        for wanted, given in zip(expected, found, strict=True):
            assert wanted == pytest.approx(given, abs=1e-5)
    assert set(expected[0]) == set(query.indices)


def test_copies_and_pickles_make_their_own_client(triton):
    """Frameworks do both; the settings go along, the connection does not."""
    embeddings = BGEM3Embeddings(url=triton.grpc, max_length=7)
    vector = embeddings.embed_query(TEXTS[0])

    for other in (copy.deepcopy(embeddings), pickle.loads(pickle.dumps(embeddings))):
        np.testing.assert_allclose(vector, other.embed_query(TEXTS[0]), atol=1e-5)


def test_long_text_is_refused_where_it_must_not_be_cut(url):
    """The error is the client's, and names the text."""
    embeddings = BGEM3Embeddings(url=url, max_length=8, truncate=False)

    with pytest.raises(InvalidInputError) as caught:
        embeddings.embed_documents(["short", TEXTS[0]])

    assert 1 == caught.value.index


def test_key_comes_from_the_environment_and_is_not_shown(monkeypatch):
    """An argument goes before it; neither is printed or serialised."""
    monkeypatch.setenv("BGEM3_API_KEY", "of-environment")

    from_environment, given = BGEM3Embeddings(), BGEM3Embeddings(api_key="given")

    assert "of-environment" == from_environment.api_key.get_secret_value()
    assert "given" == given.api_key.get_secret_value()
    for embeddings in (from_environment, given):
        shown = f"{embeddings!r} {embeddings.model_dump_json()} {embeddings._connection!r}"
        assert "of-environment" not in shown
        assert "given" not in shown
