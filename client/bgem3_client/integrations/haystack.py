"""Embedders for Haystack: dense and sparse from one forward pass."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.embeddings import Embedding
from bgem3_client.encode_request import Output
from bgem3_client.integrations.connection import API_KEY_VARIABLE, DEFAULT_URL, Connection
from bgem3_client.integrations.framework import framework

with framework("Haystack", "bgem3-triton[haystack]"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.dataclasses import SparseEmbedding
    from haystack.utils import Secret, deserialize_secrets_inplace

_KEY_OF_ENVIRONMENT = Secret.from_env_var(API_KEY_VARIABLE, strict=False)


class _Embedder:
    """What both embedders are made with, and how it is serialised."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: Secret | None = _KEY_OF_ENVIRONMENT,
        sparse: bool = True,
        max_length: int = MAX_POSITIONS_TOKENS,
        truncate: bool = True,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self.url = url
        self.api_key = api_key
        self.sparse = sparse
        self.max_length = max_length
        self.truncate = truncate
        self.timeout_seconds = timeout_seconds
        self._connection: Connection | None = None

    def warm_up(self) -> None:
        """Read the key and make a client; nothing is sent yet.

        Raises:
            InvalidInputError: The url or the key is none.
        """
        if self._connection is None:
            key = None if self.api_key is None else self.api_key.resolve_value()
            connection = Connection(
                self.url, key, self.max_length, self.truncate, self.timeout_seconds
            )
            connection.client  # noqa: B018 - made now, so that a wrong url is said now
            self._connection = connection

    def _settings(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "api_key": None if self.api_key is None else self.api_key.to_dict(),
            "sparse": self.sparse,
            "max_length": self.max_length,
            "truncate": self.truncate,
            "timeout_seconds": self.timeout_seconds,
        }

    def _encode(self, texts: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return each text's embeddings under Haystack's names, and what is said of all."""
        if not texts:
            return [], _meta(0, [])
        self.warm_up()
        assert self._connection is not None
        outputs: set[Output] = {"dense", "sparse"} if self.sparse else {"dense"}
        embeddings = self._connection.encode(texts, outputs)
        rows = [self._named(embedding) for embedding in embeddings]
        truncated = embeddings.truncated.nonzero()[0].tolist()
        return rows, _meta(int(embeddings.token_lengths.sum()), truncated)

    def _named(self, embedding: Embedding) -> dict[str, Any]:
        named: dict[str, Any] = {"embedding": embedding.dense.tolist()}
        if self.sparse:
            named["sparse_embedding"] = SparseEmbedding(
                embedding.sparse.indices.tolist(), embedding.sparse.values.tolist()
            )
        return named


@component
class BGEM3TextEmbedder(_Embedder):
    """Embeds a query: its dense vector and its lexical weights, from one forward pass.

        >>> embedder = BGEM3TextEmbedder(url="bgem3://localhost:33330")
        >>> embedder.run("How do I reset my password?")["embedding"]

    Raises the errors of :mod:`bgem3_client.errors`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: Secret | None = _KEY_OF_ENVIRONMENT,
        sparse: bool = True,
        max_length: int = MAX_POSITIONS_TOKENS,
        truncate: bool = True,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """Make one; nothing is sent yet.

        Args:
            url: ``bgem3://host:33330`` (``bgem3s://`` encrypted) for the HTTP service,
                ``grpc://host:8001`` or ``http://host:8000`` for Triton itself.
            api_key: The service's key, where it wants one; ``$BGEM3_API_KEY`` by default.
            sparse: Whether to give ``sparse_embedding`` too.
            max_length: Tokens a text is cut to, special tokens included.
            truncate: False makes a longer text an error.
            timeout_seconds: Time allowed for a call; None for no limit.
        """
        # Not super(): the decorator makes another class of this one.
        _Embedder.__init__(self, url, api_key, sparse, max_length, truncate, timeout_seconds)
        outputs: dict[str, Any] = {"embedding": list[float], "meta": dict[str, Any]}
        if sparse:
            outputs["sparse_embedding"] = SparseEmbedding
        component.set_output_types(self, **outputs)

    def to_dict(self) -> dict[str, Any]:
        """Return the component as Haystack stores it, without the key itself."""
        return default_to_dict(self, **self._settings())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BGEM3TextEmbedder:
        """Return the component that :meth:`to_dict` described."""
        deserialize_secrets_inplace(data["init_parameters"], keys=["api_key"])
        return default_from_dict(cls, data)

    def run(self, text: str) -> dict[str, Any]:
        """Return ``embedding``, ``sparse_embedding`` and ``meta`` of one text.

        ``meta`` holds the ``usage`` in tokens and whether the text was ``truncated``.
        """
        if not isinstance(text, str):
            raise TypeError(
                "BGEM3TextEmbedder takes a string; BGEM3DocumentEmbedder takes documents"
            )
        (named,), meta = self._encode([text])
        return {**named, "meta": {**meta, "truncated": bool(meta["truncated"])}}

    async def run_async(self, text: str) -> dict[str, Any]:
        """Do as :meth:`run`, in a thread."""
        return await asyncio.to_thread(self.run, text)


@component
class BGEM3DocumentEmbedder(_Embedder):
    """Embeds documents: dense vectors and lexical weights, from one forward pass.

        >>> embedder = BGEM3DocumentEmbedder(url="bgem3://localhost:33330")
        >>> documents = embedder.run([Document(content="Open the settings.")])["documents"]

    Raises the errors of :mod:`bgem3_client.errors`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: Secret | None = _KEY_OF_ENVIRONMENT,
        sparse: bool = True,
        max_length: int = MAX_POSITIONS_TOKENS,
        truncate: bool = True,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
    ) -> None:
        """Make one; nothing is sent yet.

        Args:
            url: ``bgem3://host:33330`` (``bgem3s://`` encrypted) for the HTTP service,
                ``grpc://host:8001`` or ``http://host:8000`` for Triton itself.
            api_key: The service's key, where it wants one; ``$BGEM3_API_KEY`` by default.
            sparse: Whether to give each document a ``sparse_embedding`` too.
            max_length: Tokens a document is cut to, special tokens included.
            truncate: False makes a longer document an error.
            timeout_seconds: Time allowed for a call; None for no limit.
            meta_fields_to_embed: Of each document's ``meta``, put before its content.
            embedding_separator: Put between those and the content.
        """
        _Embedder.__init__(self, url, api_key, sparse, max_length, truncate, timeout_seconds)
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Return the component as Haystack stores it, without the key itself."""
        return default_to_dict(
            self,
            **self._settings(),
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BGEM3DocumentEmbedder:
        """Return the component that :meth:`to_dict` described."""
        deserialize_secrets_inplace(data["init_parameters"], keys=["api_key"])
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Return copies of the documents with their embeddings, and ``meta``.

        ``meta`` holds the ``usage`` in tokens and the ids of the documents that were
        ``truncated``.
        """
        if not isinstance(documents, list) or not all(isinstance(d, Document) for d in documents):
            raise TypeError(
                "BGEM3DocumentEmbedder takes a list of documents; BGEM3TextEmbedder takes a string"
            )
        rows, meta = self._encode([self._text(document) for document in documents])
        return {
            "documents": [
                replace(document, **row) for document, row in zip(documents, rows, strict=True)
            ],
            "meta": {**meta, "truncated": [documents[index].id for index in meta["truncated"]]},
        }

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """Do as :meth:`run`, in a thread."""
        return await asyncio.to_thread(self.run, documents)

    def _text(self, document: Document) -> str:
        fields = [document.meta.get(name) for name in self.meta_fields_to_embed]
        parts = [str(value) for value in fields if value is not None]
        return self.embedding_separator.join([*parts, document.content or ""])


def _meta(tokens: int, truncated: list[int]) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "truncated": truncated}
