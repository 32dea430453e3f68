"""What retrievers open in these tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from handbook import COLLECTION, QUESTION
from memory_store import MemoryStore

from bgem3_client import Client, FakeTransport
from bgem3_retrieval.integrations.settings import search_options
from bgem3_retrieval.search.result import Hit
from bgem3_retrieval.search.searcher import Searcher


@dataclass
class Opened:
    """What retrievers opened, each time, and with what."""

    memory: MemoryStore
    stores: list[MemoryStore] = field(default_factory=list)
    addresses: list[tuple[str, str | None]] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def hits(self, question: str = QUESTION, **settings: Any) -> tuple[Hit, ...]:
        """What a searcher finds, asked with a retriever's settings."""
        with Client(transport=FakeTransport()) as client:
            searcher = Searcher(client, self.memory)
            return searcher.search(
                COLLECTION, question, search_options(settings.pop("top_k", 10), **settings)
            ).hits
