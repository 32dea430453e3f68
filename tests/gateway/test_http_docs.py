"""docs/http.md says what the service does: its examples run, and its tables are complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bgem3_server.gateway.calls.error_table import ERROR_KINDS
from bgem3_server.gateway.dialects.native_schema import NativeEmbedRequest
from bgem3_server.triton.addresses import Addresses

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
SERVICE = "http://127.0.0.1:33330"
TRITON = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    """The document's code blocks in a language."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.live
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_runs(number: int, service_url: str) -> None:
    """As it stands, but for the address."""
    code = blocks("python")[number].replace(SERVICE, service_url)

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr
    assert "384" in done.stdout  # a shape: the demo model's dimensions


@pytest.mark.live
@pytest.mark.parametrize("number", range(len(blocks("sh"))))
def test_curl_runs(number: int, service_url: str, triton: Addresses) -> None:
    """As it stands, but for the address."""
    command = blocks("sh")[number].replace(SERVICE, service_url).replace(TRITON, triton.http)

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)

    assert {"embeddings", "outputs", "token_lengths"} & json.loads(done.stdout).keys()


def test_every_field_is_in_the_table() -> None:
    """Of a native request."""
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [name for name in NativeEmbedRequest.model_fields if f"\n| `{name}` |" not in text]

    assert [] == missing


def test_every_error_is_in_the_table() -> None:
    """With its status."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Errors")[2]
    rows = {
        code: row
        for row in section.splitlines()
        for code in re.findall(r"`(\w+)`", row.split("|")[1] if row.startswith("| `") else "")
    }

    for kind in ERROR_KINDS.values():
        assert kind.code in rows
        for status in {kind.status, *kind.statuses.values()}:
            assert str(status) in rows[kind.code].split("|")[2]
