"""A handbook in a store in memory, a server that is faked, and what retrievers open of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from handbook import fill
from memory_store import MemoryStore
from opened_places import Opened

import bgem3_client.integrations.connection
import bgem3_retrieval.integrations.connection
from bgem3_client import Client, FakeTransport


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """What is opened here instead of a server and a store."""
    memory = MemoryStore()
    with Client(transport=FakeTransport()) as client:
        fill(memory, client)
    opened = Opened(memory)

    def open_store(address: str, api_key: str | None = None) -> MemoryStore:
        opened.addresses.append((address, api_key))
        opened.stores.append(memory.reopened())
        return opened.stores[-1]

    def connect(url: str, *, headers: dict[str, str], timeout_seconds: float | None) -> Client:
        opened.urls.append(url)
        opened.headers.append(headers)
        opened.clients.append(Client(transport=FakeTransport(), timeout_seconds=timeout_seconds))
        return opened.clients[-1]

    monkeypatch.setattr(bgem3_retrieval.integrations.connection, "open_store", open_store)
    monkeypatch.setattr(bgem3_client.integrations.connection, "Client", connect)
    monkeypatch.setattr(bgem3_retrieval.integrations.connection, "_opened", {})
    for name in ("BGEM3_API_KEY", "BGEM3_STORE", "BGEM3_STORE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield opened
    for client in opened.clients:
        client.close()
