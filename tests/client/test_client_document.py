"""The examples of docs/client.md run."""

from __future__ import annotations

import re
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from fake_triton import Behaviour, grpc_server, http_server
from live_service import live_service

import bgem3_client
from bgem3_client import FakeTransport
from bgem3_client.event_loop_thread import EventLoopThread
from bgem3_server.gateway.settings import GatewaySettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"


@pytest.fixture
def addresses():
    """Serve all protocols, and return what to put for the document's addresses."""
    thread = EventLoopThread()
    servers = AsyncExitStack()

    async def start():
        grpc_address = await servers.enter_async_context(grpc_server(Behaviour()))
        http_address = await servers.enter_async_context(http_server(Behaviour()))
        return {"localhost:8001": grpc_address, "http://localhost:8000": http_address}

    with live_service(GatewaySettings(api_keys="KEY"), FakeTransport()) as url:
        service_address = url.replace("http://", "bgem3://")
        yield {**thread.run(start()), "bgem3://localhost:33330": service_address}

    thread.run(servers.aclose())
    thread.stop()


def test_examples_run_one_after_the_other(addresses, certificate, tmp_path, monkeypatch, capsys):
    """As they stand, but for the addresses; certificates are where they are said to be."""
    shutil.copy(certificate[0], tmp_path / "ca.pem")
    shutil.copy(certificate[0], tmp_path / "client.pem")
    shutil.copy(certificate[1], tmp_path / "client-key.pem")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names = {}

    for example in examples:
        code = example
        for written, real in addresses.items():
            code = code.replace(written, real)
        exec(compile(code, str(DOCUMENT), "exec"), names)

    assert 13 == len(examples)
    assert "1 the text has 14 tokens, more than max_length=8" in capsys.readouterr().out


def test_table_of_errors_is_complete():
    """Every kind of error is explained, and only UnavailableError is tried again."""
    rows = dict(
        re.findall(r"^\| `(\w+Error)` \|.*\| (yes|no) \|$", DOCUMENT.read_text(), re.MULTILINE)
    )
    names = {name for name in bgem3_client.__all__ if name.endswith("Error")}

    assert names - {"BgeM3Error", "ServerError"} == set(rows)
    assert ["UnavailableError"] == [name for name, again in rows.items() if again == "yes"]
