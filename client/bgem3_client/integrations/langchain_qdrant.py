"""Sparse embeddings for LangChain's Qdrant store."""

from __future__ import annotations

from bgem3_client.integrations.framework import framework
from bgem3_client.integrations.served_model import ServedModel

with framework("LangChain Qdrant", "langchain-qdrant"):
    from langchain_qdrant import SparseEmbeddings, SparseVector


class BGEM3SparseEmbeddings(ServedModel, SparseEmbeddings):
    """BGE-M3's lexical weights as the `SparseEmbeddings` of ``langchain_qdrant``.

    Indices are token ids. For ``RetrievalMode.HYBRID`` beside `BGEM3Embeddings`, or
    ``RetrievalMode.SPARSE`` alone. Methods raise the errors of :mod:`bgem3_client.errors`.
    """

    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        """Return each text's token ids and their weights."""
        if not texts:
            return []
        return [
            SparseVector(indices=weights.indices.tolist(), values=weights.values.tolist())
            for weights in self._connection.encode(texts, {"sparse"}).sparse
        ]

    def embed_query(self, text: str) -> SparseVector:
        """Return the text's token ids and their weights."""
        return self.embed_documents([text])[0]
