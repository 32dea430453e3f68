"""``bgem3 encode`` into a folder, against servers that are faked."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_run import CorpusCommand

from bgem3_client import AsyncClient, Limits
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint


@pytest.fixture
def corpus_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusCommand:
    """The command, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    command = CorpusCommand(tmp_path)

    def connect(url: str, limits: Limits) -> Endpoint:
        transport = command.transport(url)
        transport.closed = False  # by an earlier run
        retries = RetryPolicy(attempts=1)
        return Endpoint(url, AsyncClient(transport=transport, limits=limits, retries=retries))

    monkeypatch.setattr(Endpoint, "connect", connect)
    return command
