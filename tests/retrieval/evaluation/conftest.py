"""``bgem3 eval`` in this process, against a server that is faked, and small collections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from eval_run import EvalCommand, small_collection

import bgem3_retrieval.evaluation.command
from bgem3_client import Client, FakeTransport
from bgem3_client.retry_policy import RetryPolicy

WriteCollection = Callable[..., Path]


@pytest.fixture
def eval_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalCommand:
    """The command, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    command = EvalCommand(tmp_path, FakeTransport())

    def connect(url: str) -> Client:
        return Client(transport=command.transport, retries=RetryPolicy(attempts=1))

    monkeypatch.setattr(bgem3_retrieval.evaluation.command, "connect", connect)
    return command


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A folder in BEIR's layout, with three documents and two queries."""
    return small_collection(tmp_path / "fruit")
