"""A retriever for Haystack."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.integrations.connection import API_KEY_VARIABLE
from bgem3_client.integrations.framework import framework

with framework("Haystack", "bgem3-triton[haystack,retrieval]"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret, deserialize_secrets_inplace

    from bgem3_retrieval.connections import STORE_KEY_VARIABLE
    from bgem3_retrieval.integrations.connection import DEFAULT_URL, Place, SearchConnection
    from bgem3_retrieval.integrations.metadata import metadata_of
    from bgem3_retrieval.integrations.settings import DEFAULT_TOP_K, search_options
    from bgem3_retrieval.search.result import Hit

_KEY_OF_ENVIRONMENT = Secret.from_env_var(API_KEY_VARIABLE, strict=False)
_STORE_KEY_OF_ENVIRONMENT = Secret.from_env_var(STORE_KEY_VARIABLE, strict=False)


@component
class BGEM3Retriever:
    """Searches a collection that ``bgem3 index`` made.

        >>> retriever = BGEM3Retriever(collection="handbook", store="my-index", top_k=3)
        >>> for document in retriever.run("annual leave")["documents"]:
        ...     print(document.score, document.content)

    A document has the passage, its id in the store, its score, and as its ``meta`` what
    :func:`bgem3_retrieval.integrations.metadata.metadata_of` gives. It encodes the query itself:
    no embedder stands before it.

    Raises the errors of :mod:`bgem3_retrieval.errors` and :mod:`bgem3_client.errors`.
    """

    def __init__(
        self,
        collection: str,
        url: str = DEFAULT_URL,
        api_key: Secret | None = _KEY_OF_ENVIRONMENT,
        store: str | None = None,
        store_api_key: Secret | None = _STORE_KEY_OF_ENVIRONMENT,
        top_k: int = DEFAULT_TOP_K,
        where: list[str] | None = None,
        options: dict[str, Any] | None = None,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """Make one; nothing is opened yet.

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
            top_k: Documents at most.
            where: Conditions that all must hold, as ``page>=3``.
            options: Other attributes of `SearchOptions`, by their names.
            timeout_seconds: Time allowed for a call of the server; None for no limit.
        """
        search_options(top_k, where, options)
        self.collection = collection
        self.url = url
        self.api_key = api_key
        self.store = store
        self.store_api_key = store_api_key
        self.top_k = top_k
        self.where = where
        self.options = options
        self.timeout_seconds = timeout_seconds
        self._connection: SearchConnection | None = None

    def warm_up(self) -> None:
        """Read the keys and open the store; nothing is sent yet.

        Raises:
            InvalidInputError: The url, a key or the store's address is none.
            MissingLibraryError: The store's library is not installed.
        """
        self._connected().open()

    def close(self) -> None:
        """Let go of the server and the store; the next run opens them again."""
        if self._connection is not None:
            self._connection.close()

    def to_dict(self) -> dict[str, Any]:
        """Return the component as Haystack stores it, without the keys themselves."""
        return default_to_dict(
            self,
            collection=self.collection,
            url=self.url,
            api_key=None if self.api_key is None else self.api_key.to_dict(),
            store=self.store,
            store_api_key=None if self.store_api_key is None else self.store_api_key.to_dict(),
            top_k=self.top_k,
            where=self.where,
            options=self.options,
            timeout_seconds=self.timeout_seconds,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BGEM3Retriever:
        """Return the component that :meth:`to_dict` described."""
        deserialize_secrets_inplace(data["init_parameters"], keys=["api_key", "store_api_key"])
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, top_k: int | None = None, where: list[str] | None = None
    ) -> dict[str, Any]:
        """Return ``documents``, the best first.

        Args:
            query: A question or some words.
            top_k: Documents at most; None for the component's.
            where: Conditions that must hold as well as the component's.
        """
        limit = self.top_k if top_k is None else top_k
        own = search_options(limit, self.where, self.options)
        more = search_options(limit, where)
        options = replace(own, where=(*own.where, *more.where))
        hits = self._connected().search(self.collection, query, options)
        return {"documents": [_document(hit) for hit in hits]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, where: list[str] | None = None
    ) -> dict[str, Any]:
        """Do as :meth:`run`, in a thread."""
        return await asyncio.to_thread(self.run, query, top_k, where)

    def _connected(self) -> SearchConnection:
        if self._connection is None:
            self._connection = SearchConnection(
                Place(
                    self.url,
                    _value(self.api_key),
                    self.timeout_seconds,
                    self.store,
                    _value(self.store_api_key),
                )
            )
        return self._connection


def _value(secret: Secret | None) -> str | None:
    return None if secret is None else secret.resolve_value()


def _document(hit: Hit) -> Document:
    return Document(
        id=str(hit.id), content=hit.stored.chunk.text, meta=metadata_of(hit), score=hit.score
    )
