"""A retriever for LlamaIndex."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.integrations.framework import framework

with framework("LlamaIndex", "bgem3-triton[llama-index,retrieval]"):
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.schema import (
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )

    from bgem3_retrieval.integrations.connection import DEFAULT_URL, Place, SearchConnection
    from bgem3_retrieval.integrations.metadata import PLACE, SCORES, metadata_of
    from bgem3_retrieval.integrations.settings import DEFAULT_TOP_K, search_options
    from bgem3_retrieval.search.result import Hit


class BGEM3Retriever(BaseRetriever):
    """Searches a collection that ``bgem3 index`` made, as LlamaIndex's `BaseRetriever`.

        >>> retriever = BGEM3Retriever("handbook", store="my-index", top_k=3)
        >>> for found in retriever.retrieve("annual leave"):
        ...     print(found.score, found.text)

    A node has the passage, its id in the store, its place in the document (``ref_doc_id`` is the
    source), and the metadata of :func:`bgem3_retrieval.integrations.metadata.metadata_of`, of
    which a language model reads what says something. The asynchronous method works in a thread.

    Making one and searching raise the errors of :mod:`bgem3_retrieval.errors` and
    :mod:`bgem3_client.errors`.
    """

    def __init__(
        self,
        collection: str,
        *,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        store: str | None = None,
        store_api_key: str | None = None,
        top_k: int = DEFAULT_TOP_K,
        where: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        """Make one and open the store; nothing is sent yet.

        Args:
            collection: Its name.
            url: ``bgem3://host:33330`` (``bgem3s://`` encrypted) for the HTTP service,
                ``grpc://host:8001`` or ``http://host:8000`` for Triton itself.
            api_key: The service's key, where it wants one; ``$BGEM3_API_KEY`` by default.
            store: Where the collection is: a folder, ``http://host:6333``, ``milvus:FILE.db`` or
                ``milvus+http://host:19530``; ``$BGEM3_STORE``, or a folder of the user's, by
                default.
            store_api_key: The store's key, where it wants one; ``$BGEM3_STORE_API_KEY`` by
                default.
            top_k: Nodes at most.
            where: Conditions that all must hold, as ``page>=3``.
            options: Other attributes of `SearchOptions`, by their names.
            timeout_seconds: Time allowed for a call of the server; None for no limit.
            callback_manager: LlamaIndex's.
            verbose: LlamaIndex's.
        """
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self.collection = collection
        self._options = search_options(top_k, where, options)
        place = Place(url, api_key, timeout_seconds, store, store_api_key)
        self._connection = SearchConnection(place)
        self._connection.open()

    def close(self) -> None:
        """Let go of the server and the store; the next search opens them again."""
        self._connection.close()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._connection.search(self.collection, query_bundle.query_str, self._options)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _node(hit: Hit) -> TextNode:
    chunk = hit.stored.chunk
    metadata = metadata_of(hit)
    unread = [
        name
        for name, value in metadata.items()
        if name in PLACE or name == SCORES or value is None or value in ("", [])
    ]
    return TextNode(
        id_=str(hit.id),
        text=chunk.text,
        metadata=metadata,
        excluded_llm_metadata_keys=unread,
        excluded_embed_metadata_keys=list(metadata),
        start_char_idx=chunk.begin,
        end_char_idx=chunk.end,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.source)},
    )
