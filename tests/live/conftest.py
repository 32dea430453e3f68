"""Connections for tests that send raw tensors, and a server of a model that takes no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpcclient
from live.poisoned_model import write_poisoned_repository
from live_server import live_triton

from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.events import Event


@pytest.fixture(scope="session")
def connection(triton: Addresses) -> Iterator[grpcclient.InferenceServerClient]:
    """A plain Triton client."""
    with grpcclient.InferenceServerClient(triton.grpc) as connection:
        yield connection


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a model of two layers of 32, whose numbers overflow at one token."""
    return write_poisoned_repository(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_triton(tiny_repository: Path) -> Iterator[Addresses]:
    """A Triton that serves it; at the end it has nothing left to wait for."""
    events: list[Event] = []
    with live_triton(tiny_repository, events.append) as addresses:
        yield addresses
    assert not any("by force" in str(event) for event in events)
