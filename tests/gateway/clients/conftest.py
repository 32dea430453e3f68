"""Clients that others wrote, against a live service."""

from __future__ import annotations

import os
import socket

import pytest
from example_texts import TEXTS

# Set before it is imported: it would report to its makers.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing that a client does may leave this machine."""
    connect = socket.socket.connect

    def local_connect(self, address):
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        assert host in ("127.0.0.1", "::1", "localhost"), f"a client went to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_connect)


@pytest.fixture(scope="session")
def embeddings(client):
    """What the project's own client gives for the texts: dense, sparse, ColBERT, hidden states."""
    return client.encode(
        TEXTS,
        {"dense", "sparse", "colbert"},
        return_tokens=True,
        return_hidden_states=True,
    )
