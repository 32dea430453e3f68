"""A retriever for LangChain."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PrivateAttr, SecretStr

from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.integrations.framework import framework

with framework("LangChain", "bgem3-triton[langchain,retrieval]"):
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

    from bgem3_retrieval.integrations.connection import DEFAULT_URL, Place, SearchConnection
    from bgem3_retrieval.integrations.metadata import metadata_of
    from bgem3_retrieval.integrations.settings import DEFAULT_TOP_K, search_options
    from bgem3_retrieval.search.result import Hit


class BGEM3Retriever(BaseRetriever):
    """Searches a collection that ``bgem3 index`` made, as LangChain's `BaseRetriever`.

        >>> retriever = BGEM3Retriever(collection="handbook", store="my-index", top_k=3)
        >>> for document in retriever.invoke("annual leave"):
        ...     print(document.metadata["score"], document.page_content)

    A document has the passage, its id in the store, and the metadata of
    :func:`bgem3_retrieval.integrations.metadata.metadata_of` with the ``score``. The asynchronous
    methods are LangChain's, in a thread.

    Making one and searching raise the errors of :mod:`bgem3_retrieval.errors` and
    :mod:`bgem3_client.errors`.
    """

    collection: str = Field(description="The collection's name.")
    url: str = Field(
        default=DEFAULT_URL,
        description="The server: bgem3://host:33330 (bgem3s:// encrypted) for the HTTP service, "
        "grpc://host:8001 or http://host:8000 for Triton itself.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        exclude=True,
        description="The service's key, where it wants one; $BGEM3_API_KEY by default.",
    )
    store: str | None = Field(
        default=None,
        description="Where the collection is: a folder, http://host:6333, milvus:FILE.db or "
        "milvus+http://host:19530; $BGEM3_STORE, or a folder of the user's, by default.",
    )
    store_api_key: SecretStr | None = Field(
        default=None,
        exclude=True,
        description="The store's key, where it wants one; $BGEM3_STORE_API_KEY by default.",
    )
    top_k: int = Field(default=DEFAULT_TOP_K, description="Documents at most.")
    where: list[str] = Field(
        default_factory=list, description="Conditions that all must hold, as 'page>=3'."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Other attributes of SearchOptions, by their names."
    )
    timeout_seconds: float | None = Field(
        default=DEFAULT_TIMEOUT_SECONDS,
        gt=0,
        description="Time allowed for a call of the server; None for no limit.",
    )

    _connection: SearchConnection = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's signature
        """Check the settings, and open the store; nothing is sent yet."""
        super().model_post_init(context)
        search_options(self.top_k, self.where, self.options)
        self._connection = SearchConnection(
            Place(
                self.url,
                _value(self.api_key),
                self.timeout_seconds,
                self.store,
                _value(self.store_api_key),
            )
        )
        self._connection.open()

    def close(self) -> None:
        """Let go of the server and the store; the next search opens them again."""
        self._connection.close()

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        options = search_options(self.top_k, self.where, self.options)
        hits = self._connection.search(self.collection, query, options)
        return [_document(hit) for hit in hits]


def _value(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _document(hit: Hit) -> Document:
    return Document(
        id=str(hit.id),
        page_content=hit.stored.chunk.text,
        metadata={**metadata_of(hit), "score": hit.score},
    )
