"""Dense embeddings for LangChain."""

from __future__ import annotations

from bgem3_client.integrations.framework import framework
from bgem3_client.integrations.served_model import ServedModel

with framework("LangChain", "bgem3-triton[langchain]"):
    from langchain_core.embeddings import Embeddings


class BGEM3Embeddings(ServedModel, Embeddings):
    """BGE-M3's dense vectors as LangChain's `Embeddings`.

    Queries and documents are encoded alike: BGE-M3 wants no instruction before either. Any number
    of documents may be passed at once. The asynchronous methods are LangChain's, in a thread.

        >>> embeddings = BGEM3Embeddings(url="bgem3://localhost:33330")
        >>> vector = embeddings.embed_query("How do I reset my password?")

    Methods raise the errors of :mod:`bgem3_client.errors`.
    """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text."""
        if not texts:
            return []
        vectors: list[list[float]] = self._connection.encode(texts, {"dense"}).dense.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the text's vector, of length 1."""
        return self.embed_documents([text])[0]
