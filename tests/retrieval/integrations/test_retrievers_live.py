"""All retrievers with a real Triton and an embedded Qdrant find what a search finds."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from handbook import COLLECTION, QUESTION, fill

from bgem3_client import Client
from bgem3_retrieval.integrations.haystack import BGEM3Retriever as HaystackRetriever
from bgem3_retrieval.integrations.langchain import BGEM3Retriever as LangChainRetriever
from bgem3_retrieval.integrations.llama_index import BGEM3Retriever as LlamaIndexRetriever
from bgem3_retrieval.integrations.settings import search_options
from bgem3_retrieval.search.searcher import Searcher
from bgem3_retrieval.stores.address import open_store
from bgem3_server.triton.addresses import Addresses


@pytest.mark.live
def test_every_retriever_finds_what_a_search_finds(
    triton: Addresses, client: Client, tmp_path: Path
) -> None:
    """One folder, open in three frameworks at once, and free for others when they let go."""
    folder = str(tmp_path / "store")
    where = ["language in (en, zh)"]
    with closing(open_store(folder)) as store:
        fill(store, client)
        hits = Searcher(client, store).search(COLLECTION, QUESTION, search_options(3, where)).hits

    url = triton.grpc
    langchain = LangChainRetriever(
        collection=COLLECTION, url=url, store=folder, top_k=3, where=where
    )
    llama_index = LlamaIndexRetriever(COLLECTION, url=url, store=folder, top_k=3, where=where)
    haystack = HaystackRetriever(COLLECTION, url=url, store=folder, top_k=3, where=where)
    with closing(langchain), closing(llama_index), closing(haystack):
        found = {
            "LangChain": [(d.id, d.metadata["score"]) for d in langchain.invoke(QUESTION)],
            "LlamaIndex": [(n.node_id, n.score) for n in llama_index.retrieve(QUESTION)],
            "Haystack": [(d.id, d.score) for d in haystack.run(QUESTION)["documents"]],
        }
    with closing(open_store(folder)) as store:
        chunks = store.count(COLLECTION)

    assert 4 == chunks
    assert "Annual leave that is left is carried over to March." == hits[0].stored.chunk.text
    for name, pairs in found.items():
        assert [str(hit.id) for hit in hits] == [point_id for point_id, _ in pairs], name
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in pairs], abs=1e-4)
