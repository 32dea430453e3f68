"""A server that is faked, and a store in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from memory_store import MemoryStore
from search_run import SearchCommand

import bgem3_retrieval.search.command
from bgem3_client import Client, FakeTransport
from bgem3_client.retry_policy import RetryPolicy


@pytest.fixture
def transport() -> FakeTransport:
    """Vectors made from words, 16 numbers each."""
    return FakeTransport()


@pytest.fixture
def fake_client(transport: FakeTransport) -> Iterator[Client]:
    """A client of the faked server."""
    with Client(transport=transport) as client:
        yield client


@pytest.fixture
def memory() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


@pytest.fixture
def search_command(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> SearchCommand:
    """The command, on a screen of 80 columns."""

    def connect(url: str) -> Client:
        return Client(transport=FakeTransport(), retries=RetryPolicy(attempts=1))

    monkeypatch.setattr(bgem3_retrieval.search.command, "connect", connect)
    monkeypatch.setattr(bgem3_retrieval.search.command, "connect_store", lambda address: memory)
    monkeypatch.setenv("COLUMNS", "80")
    return SearchCommand(memory)
