"""Haystack's retriever over a collection."""

from __future__ import annotations

import asyncio

import pytest
from handbook import COLLECTION, QUESTION
from haystack import Pipeline
from haystack.utils import Secret
from opened_places import Opened

from bgem3_client import InvalidInputError
from bgem3_retrieval.integrations.haystack import BGEM3Retriever


def test_documents_are_the_hits(opened: Opened) -> None:
    """In order, with ids, scores and all metadata."""
    documents = BGEM3Retriever(COLLECTION, store="here").run(QUESTION)["documents"]

    hits = opened.hits()
    assert [(str(hit.id), hit.score) for hit in hits] == [(d.id, d.score) for d in documents]
    best = documents[0]
    assert "Annual leave that is left is carried over to March." == best.content
    assert {
        "source": "leave.pdf",
        "title": "Leave and travel",
        "page": 2,
        "headings": ["Rules"],
        "position": 1,
        "begin": 100,
        "end": 100 + len(best.content),
        "language": "en",
        "year": 2026,
        "scores": dict(hits[0].scores),
    } == best.meta


def test_a_run_narrows_what_the_component_finds(opened: Opened) -> None:
    """Its conditions are added; its number of documents is taken instead."""
    retriever = BGEM3Retriever(
        COLLECTION, store="here", top_k=1, where=["source==leave.pdf"], options={"rerank": False}
    )

    few = retriever.run(QUESTION)["documents"]
    more = retriever.run(QUESTION, top_k=5)["documents"]
    narrow = retriever.run(QUESTION, top_k=5, where=["page==1"])["documents"]
    nothing = retriever.run(QUESTION, where=["language==zh"])["documents"]

    assert [1, 2, 1, 0] == [len(found) for found in (few, more, narrow, nothing)]
    assert 1 == narrow[0].meta["page"]
    assert {"dense", "sparse"} == set(few[0].meta["scores"])


def test_saved_pipeline_finds_the_same_and_closes(opened: Opened) -> None:
    """Through YAML; closing the pipeline closes the store."""
    pipeline = Pipeline()
    pipeline.add_component(
        "retriever", BGEM3Retriever(COLLECTION, store="here", where=["page>=1"], top_k=3)
    )
    restored = Pipeline.loads(pipeline.dumps(), allowed_modules=["bgem3_retrieval.*"])

    answer = restored.run({"retriever": {"query": QUESTION}})
    restored.close()

    expected = opened.hits(top_k=3, where=["page>=1"])
    assert [str(hit.id) for hit in expected] == [d.id for d in answer["retriever"]["documents"]]
    assert [True] == [store.closed for store in opened.stores]


def test_serialised_component_is_the_same(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are stored as the names of their variables."""
    monkeypatch.setenv("MY_KEY", "secret")
    monkeypatch.setenv("MY_STORE_KEY", "hidden")
    retriever = BGEM3Retriever(
        COLLECTION,
        url="grpc://somewhere:8001",
        api_key=Secret.from_env_var("MY_KEY"),
        store="https://qdrant:6333",
        store_api_key=Secret.from_env_var("MY_STORE_KEY"),
        top_k=3,
        where=["page>=3"],
        options={"mode": "dense", "candidates": 20},
        timeout_seconds=7,
    )

    data = retriever.to_dict()
    again = BGEM3Retriever.from_dict(retriever.to_dict())
    again.warm_up()

    assert "secret" not in repr(data)
    assert "hidden" not in repr(data)
    assert data == again.to_dict()
    assert [("https://qdrant:6333", "hidden")] == opened.addresses
    assert [{"authorization": "Bearer secret"}] == opened.headers
    assert ["grpc://somewhere:8001"] == opened.urls


def test_asynchronous_run_gives_the_same(opened: Opened) -> None:
    """Several at once."""
    retriever = BGEM3Retriever(COLLECTION, store="here")

    async def ask():
        return await asyncio.gather(retriever.run_async(QUESTION), retriever.run_async(QUESTION))

    expected = retriever.run(QUESTION)
    assert [expected] * 2 == asyncio.run(ask())


def test_mistakes_are_said_when_it_is_made(opened: Opened) -> None:
    """As errors of the project."""
    with pytest.raises(InvalidInputError, match="'limit' is no option"):
        BGEM3Retriever(COLLECTION, store="here", options={"limit": 3})
    with pytest.raises(InvalidInputError, match="the query is empty"):
        BGEM3Retriever(COLLECTION, store="here").run(" ")
