"""Sparse embeddings for LangChain's Milvus store."""

from __future__ import annotations

from bgem3_client.integrations.framework import framework
from bgem3_client.integrations.served_model import ServedModel

with framework("LangChain Milvus", "langchain-milvus"):
    from langchain_milvus.utils.sparse import BaseSparseEmbedding


class BGEM3SparseEmbedding(ServedModel, BaseSparseEmbedding):
    """BGE-M3's lexical weights as the `BaseSparseEmbedding` of ``langchain_milvus``.

    Keys are token ids. Pass it beside `BGEM3Embeddings` in the store's list of embedding
    functions. Methods raise the errors of :mod:`bgem3_client.errors`.
    """

    def embed_documents(self, texts: list[str]) -> list[dict[int, float]]:
        """Return the weight of each text's token ids."""
        if not texts:
            return []
        return [weights.as_dict() for weights in self._connection.encode(texts, {"sparse"}).sparse]

    def embed_query(self, query: str) -> dict[int, float]:
        """Return the weight of the query's token ids."""
        return self.embed_documents([query])[0]
