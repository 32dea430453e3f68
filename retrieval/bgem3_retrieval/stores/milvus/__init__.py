"""Milvus as the store: embedded in this process by a file's name, or a server by its URL."""

from bgem3_retrieval.stores.milvus.store import MilvusStore

__all__ = ["MilvusStore"]
