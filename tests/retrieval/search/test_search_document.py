"""docs/search.md: its examples run, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from memory_store import MemoryStore
from search_texts import fill

import bgem3_client
import bgem3_retrieval.stores.address
from bgem3_client import Client, FakeTransport, InvalidInputError
from bgem3_retrieval.search.answer import HitAnswer, MillisecondsAnswer, SearchAnswer
from bgem3_retrieval.search.filters import parse_condition

DOCUMENT = (Path(__file__).parents[3] / "docs" / "search.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands under a heading of the second level."""
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_examples_in_python_run(
    memory: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One after the other, with the collection that they name."""

    def fake_client(url: str) -> Client:
        return Client(transport=FakeTransport())

    with fake_client("") as client:
        texts = ["annual leave is long", "who lost a password"]
        fill(memory, client, texts, name="handbook", metadata=[{"language": "en"}] * 2)
    monkeypatch.setattr(bgem3_client, "Client", fake_client)
    monkeypatch.setattr(bgem3_retrieval.stores.address, "open_store", lambda address: memory)
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    for example in examples:
        exec(compile(example, "docs/search.md", "exec"), names)
    output = capsys.readouterr().out

    assert 2 == len(examples)
    assert re.match(r"0\.\d{3} a \['annual', 'leave'\]\n", output)
    assert "TokenContribution(text='password'" in output
    assert memory.closed


def test_every_field_of_the_json_is_named() -> None:
    """In the tables, each once at least."""
    named = set(re.findall(r"`(\w+)`", section("JSON")))
    fields = {
        *SearchAnswer.model_fields,
        *HitAnswer.model_fields,
        *MillisecondsAnswer.model_fields,
    }

    assert fields <= named


def test_conditions_are_conditions() -> None:
    """And the one that is none is refused as it says."""
    good, bad = re.findall(r"```\n(.*?)```", section("Conditions"), re.DOTALL)

    assert 6 == len([parse_condition(line) for line in good.splitlines()])
    with pytest.raises(InvalidInputError) as caught:
        parse_condition("page=>3")
    assert bad == f"{caught.value}\n"
