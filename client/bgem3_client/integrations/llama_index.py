"""Dense and sparse embeddings for LlamaIndex."""

from __future__ import annotations

import asyncio

from bgem3_client.integrations.framework import framework
from bgem3_client.integrations.served_model import ServedModel

with framework("LlamaIndex", "bgem3-triton[llama-index]"):
    from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
    from llama_index.core.base.embeddings.base_sparse import BaseSparseEmbedding, SparseEmbedding
    from llama_index.core.bridge.pydantic import Field

# LlamaIndex sends one batch after the other; the client sends the requests of a batch at once.
_BATCH_TEXTS = 512


class BGEM3Embedding(ServedModel, BaseEmbedding):
    """BGE-M3's dense vectors as LlamaIndex's `BaseEmbedding`.

    Queries and texts are encoded alike: BGE-M3 wants no instruction before either.

        >>> Settings.embed_model = BGEM3Embedding(url="bgem3://localhost:33330")

    Methods raise the errors of :mod:`bgem3_client.errors`.
    """

    model_name: str = Field(default="bge-m3", description="What traces call the model.")
    embed_batch_size: int = Field(
        default=_BATCH_TEXTS, gt=0, le=2048, description="Texts handed to the client at once."
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises it under."""
        return "BGEM3Embedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        if not texts:
            return []
        vectors: list[Embedding] = self._connection.encode(texts, {"dense"}).dense.tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await self._aget_text_embedding(query)


class BGEM3SparseEmbedding(ServedModel, BaseSparseEmbedding):
    """BGE-M3's lexical weights as LlamaIndex's `BaseSparseEmbedding`: token id to weight.

    Its Qdrant store takes functions instead, for which :meth:`encode` is made:

        >>> sparse = BGEM3SparseEmbedding(url="bgem3://localhost:33330")
        >>> store = QdrantVectorStore(
        ...     ..., enable_hybrid=True, sparse_doc_fn=sparse.encode, sparse_query_fn=sparse.encode
        ... )

    Methods raise the errors of :mod:`bgem3_client.errors`.
    """

    model_name: str = Field(default="bge-m3", description="What traces call the model.")
    embed_batch_size: int = Field(
        default=_BATCH_TEXTS, gt=0, le=2048, description="Texts handed to the client at once."
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises it under."""
        return "BGEM3SparseEmbedding"

    def encode(self, texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
        """Return the token ids of each text, and their weights."""
        if not texts:
            return [], []
        sparse = self._connection.encode(texts, {"sparse"}).sparse
        return [row.indices.tolist() for row in sparse], [row.values.tolist() for row in sparse]

    def _get_text_embeddings(self, texts: list[str]) -> list[SparseEmbedding]:
        return [dict(zip(*row, strict=True)) for row in zip(*self.encode(texts), strict=True)]

    def _get_text_embedding(self, text: str) -> SparseEmbedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> SparseEmbedding:
        return self._get_text_embedding(query)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[SparseEmbedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_text_embedding(self, text: str) -> SparseEmbedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_query_embedding(self, query: str) -> SparseEmbedding:
        return await self._aget_text_embedding(query)
