"""``bgem3 encode`` with an HTTP service that wants a key, into a file and into a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from live_service import live_service
from pydantic import SecretStr

import bgem3_retrieval.bulk.command
from bgem3_client import AccessError, FakeTransport
from bgem3_server.gateway.settings import GatewaySettings


@pytest.mark.parametrize("output", ["vectors.jsonl", "vectors/"])
def test_the_key_is_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    """As for the other commands; without it the service refuses, which is said."""
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("hello\nworld\n")
    settings = GatewaySettings(api_keys=SecretStr("a-secret-key"))
    with live_service(settings, FakeTransport()) as url:
        address = url.replace("http://", "bgem3://")
        command = ["texts.txt", "--url", address, "-o", output]
        refused = CliRunner().invoke(bgem3_retrieval.bulk.command.encode, command)
        monkeypatch.setenv("BGEM3_API_KEY", "a-secret-key")
        done = CliRunner().invoke(bgem3_retrieval.bulk.command.encode, command)

    assert isinstance(refused.exception, AccessError)
    assert 0 == done.exit_code
    path = Path(output)
    ids = (
        pq.read_table(path).column("id").to_pylist()
        if path.is_dir()
        else [json.loads(line)["id"] for line in path.read_text().splitlines()]
    )
    assert ["1", "2"] == ids
