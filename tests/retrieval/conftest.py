"""``bgem3 encode`` in this process, against a server that is faked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from encode_run import EncodeCommand
from killable_triton import KillableTriton

import bgem3_retrieval.bulk.one_file
from bgem3_client import Client, FakeTransport, Limits
from bgem3_client.retry_policy import RetryPolicy


@pytest.fixture(scope="session")
def killable_triton(demo_repository: Path) -> Iterator[KillableTriton]:
    """A live Triton that serves the demo model, apart from the one that is left alone."""
    with KillableTriton(demo_repository) as triton:
        yield triton


@pytest.fixture
def encode_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncodeCommand:
    """The command, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    command = EncodeCommand(tmp_path, FakeTransport())

    def connect(url: str, say: Callable[[str], None], limits: Limits) -> Client:
        return Client(transport=command.transport, limits=limits, retries=RetryPolicy(attempts=1))

    monkeypatch.setattr(bgem3_retrieval.bulk.one_file, "connect", connect)
    return command


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file into the folder that the command runs in."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
