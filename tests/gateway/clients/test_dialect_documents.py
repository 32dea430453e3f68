"""The commands and programs in the documents on OpenAI's and TEI's dialects work as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
ADDRESS = "http://127.0.0.1:33330"
CURL = re.compile(
    rf"^curl -s {ADDRESS}(\S+)(?: -H 'Content-Type: application/json' -d '([^']*)')?$", re.M
)
NAMES = ("http-openai.md", "http-tei.md")


def blocks(name: str, language: str) -> list[str]:
    """Return what stands between fences of a language."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize(("name", "count"), [("http-openai.md", 2), ("http-tei.md", 6)])
def test_commands(service, name, count):
    """Each curl command gets an answer, and none is overlooked here."""
    shell = "".join(blocks(name, "sh"))
    commands = CURL.findall(shell)

    assert count == len(commands) == shell.count("curl ")
    for path, body in commands:
        answer = service.request("POST" if body else "GET", path, content=body)
        assert 200 == answer.status_code, answer.text


@pytest.mark.parametrize("name", NAMES)
def test_programs(service_url, name):
    """The Python blocks of a document are one program."""
    names: dict[str, object] = {}
    for block in blocks(name, "python"):
        exec(block.replace(ADDRESS, service_url), names)

    if name == "http-openai.md":
        assert {"如何", "密码"} <= names["weights"].keys()
    else:
        assert (2, 384) == names["vectors"].shape
        assert names["cosines"][0] > names["cosines"][1]
