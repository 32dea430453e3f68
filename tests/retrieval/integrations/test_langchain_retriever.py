"""LangChain's retriever over a collection."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from handbook import COLLECTION, QUESTION
from langchain_core.runnables import ConfigurableField, RunnableLambda
from opened_places import Opened

from bgem3_client import InvalidInputError
from bgem3_retrieval.integrations.langchain import BGEM3Retriever


def test_documents_are_the_hits(opened: Opened) -> None:
    """In order, with ids, scores and all metadata."""
    documents = BGEM3Retriever(collection=COLLECTION, store="here").invoke(QUESTION)

    hits = opened.hits()
    assert [str(hit.id) for hit in hits] == [document.id for document in documents]
    assert [hit.stored.chunk.text for hit in hits] == [d.page_content for d in documents]
    best = documents[0]
    assert "Annual leave that is left is carried over to March." == best.page_content
    assert {
        "source": "leave.pdf",
        "title": "Leave and travel",
        "page": 2,
        "headings": ["Rules"],
        "position": 1,
        "begin": 100,
        "end": 100 + len(best.page_content),
        "language": "en",
        "year": 2026,
        "score": hits[0].score,
        "scores": dict(hits[0].scores),
    } == best.metadata
    assert {"dense", "sparse", "colbert"} == set(best.metadata["scores"])


def test_settings_decide_what_is_found(opened: Opened) -> None:
    """How many, of what, and by what."""
    retriever = BGEM3Retriever(
        collection=COLLECTION,
        store="here",
        top_k=2,
        where=["language in (de, zh)"],
        options={"mode": "dense"},
    )

    documents = retriever.invoke("如何重置密码")

    assert {"urlaub.md"} == {document.metadata["source"] for document in documents}
    assert 2 == len(documents)
    assert [["dense"]] * 2 == [list(document.metadata["scores"]) for document in documents]


def test_settings_can_be_configured_for_a_call(opened: Opened) -> None:
    """As LangChain does it, with a copy, for which nothing is opened again."""
    retriever = BGEM3Retriever(collection=COLLECTION, store="here")
    configurable = retriever.configurable_fields(where=ConfigurableField(id="where"))

    documents = configurable.invoke(QUESTION, {"configurable": {"where": ["page==1"]}})

    assert [1] == [document.metadata["page"] for document in documents]
    assert 1 == len(opened.stores)


def test_asynchronous_and_batched_calls_give_the_same(opened: Opened) -> None:
    """Several at once, and in a chain."""
    retriever = BGEM3Retriever(collection=COLLECTION, store="here")
    expected = retriever.invoke(QUESTION)
    chain = retriever | RunnableLambda(lambda documents: documents[0].id)

    async def ask():
        return await asyncio.gather(retriever.ainvoke(QUESTION), retriever.ainvoke(QUESTION))

    assert [expected] * 2 == asyncio.run(ask())
    assert [expected] * 3 == retriever.batch([QUESTION] * 3)
    assert expected[0].id == chain.invoke(QUESTION)


def test_pickled_retriever_works(opened: Opened) -> None:
    """And closed ones open again."""
    retriever = BGEM3Retriever(collection=COLLECTION, store="here")
    expected = retriever.invoke(QUESTION)
    pickled = pickle.dumps(retriever)
    retriever.close()

    assert opened.stores[0].closed
    assert expected == pickle.loads(pickled).invoke(QUESTION)
    assert expected == retriever.invoke(QUESTION)


def test_keys_are_sent_and_neither_shown_nor_serialised(opened: Opened) -> None:
    """The server's and the store's."""
    retriever = BGEM3Retriever(
        collection=COLLECTION, store="here", api_key="secret", store_api_key="hidden"
    )

    assert [{"authorization": "Bearer secret"}] == opened.headers
    assert [("here", "hidden")] == opened.addresses
    for shown in (repr(retriever), retriever.model_dump_json()):
        assert "secret" not in shown
        assert "hidden" not in shown


def test_mistakes_are_said_when_it_is_made(opened: Opened) -> None:
    """As errors of the project."""
    with pytest.raises(InvalidInputError, match="did you mean >="):
        BGEM3Retriever(collection=COLLECTION, store="here", where=["page=>3"])
    with pytest.raises(InvalidInputError, match="the query is empty"):
        BGEM3Retriever(collection=COLLECTION, store="here").invoke(" ")
