"""LlamaIndex's retriever over a collection."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from handbook import COLLECTION, QUESTION
from llama_index.core.schema import MetadataMode, TextNode
from opened_places import Opened

from bgem3_client import InvalidInputError
from bgem3_retrieval.integrations.llama_index import BGEM3Retriever


def test_nodes_are_the_hits(opened: Opened) -> None:
    """In order, with ids, scores, all metadata, and their place in the document."""
    found = BGEM3Retriever(COLLECTION, store="here").retrieve(QUESTION)

    hits = opened.hits()
    assert [(str(hit.id), hit.score) for hit in hits] == [(n.node_id, n.score) for n in found]
    node = found[0].node
    assert isinstance(node, TextNode)
    assert "Annual leave that is left is carried over to March." == node.text
    assert ("leave.pdf", 100, 100 + len(node.text)) == (
        node.ref_doc_id,
        node.start_char_idx,
        node.end_char_idx,
    )
    assert {
        "source": "leave.pdf",
        "title": "Leave and travel",
        "page": 2,
        "headings": ["Rules"],
        "position": 1,
        "begin": 100,
        "end": 100 + len(node.text),
        "language": "en",
        "year": 2026,
        "scores": dict(hits[0].scores),
    } == node.metadata


def test_a_language_model_reads_what_says_something(opened: Opened) -> None:
    """No scores, no offsets, nothing empty."""
    found = BGEM3Retriever(COLLECTION, store="here").retrieve(QUESTION)
    by_source = {node.node.metadata["source"]: node.node for node in found}

    lines = by_source["urlaub.md"].get_metadata_str(MetadataMode.LLM).splitlines()

    assert {"source: urlaub.md", "year: 2026"} < set(lines)
    assert {"source", "language", "year"} == {line.split(":")[0] for line in lines}
    assert "page: " in by_source["leave.pdf"].get_metadata_str(MetadataMode.LLM)


def test_settings_decide_what_is_found(opened: Opened) -> None:
    """How many, of what, and by what."""
    retriever = BGEM3Retriever(
        COLLECTION, store="here", top_k=2, where=["page>=1"], options={"mode": "sparse"}
    )

    found = retriever.retrieve(QUESTION)

    assert [("leave.pdf", ["sparse"])] * 2 == [
        (n.node.metadata["source"], list(n.node.metadata["scores"])) for n in found
    ]


def test_asynchronous_calls_give_the_same(opened: Opened) -> None:
    """Several at once."""
    retriever = BGEM3Retriever(COLLECTION, store="here")

    async def ask():
        return await asyncio.gather(retriever.aretrieve(QUESTION), retriever.aretrieve(QUESTION))

    expected = retriever.retrieve(QUESTION)
    assert [expected] * 2 == asyncio.run(ask())


def test_pickled_retriever_works(opened: Opened) -> None:
    """And closed ones open again."""
    retriever = BGEM3Retriever(COLLECTION, store="here")
    expected = retriever.retrieve(QUESTION)
    pickled = pickle.dumps(retriever)
    retriever.close()

    assert opened.stores[0].closed
    assert expected == pickle.loads(pickled).retrieve(QUESTION)
    assert expected == retriever.retrieve(QUESTION)


def test_mistakes_are_said_when_it_is_made(opened: Opened) -> None:
    """As errors of the project."""
    with pytest.raises(InvalidInputError, match="top_k is 0"):
        BGEM3Retriever(COLLECTION, store="here", top_k=0)
    with pytest.raises(InvalidInputError, match="the query is empty"):
        BGEM3Retriever(COLLECTION, store="here").retrieve(" ")
