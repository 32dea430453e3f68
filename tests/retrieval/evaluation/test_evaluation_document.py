"""docs/evaluation.md: its options exist, and its examples run."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import mteb
import pytest
from click.testing import CliRunner
from test_mteb_tasks import LocalTask

import bgem3_client
from bgem3_client import Client, FakeTransport
from bgem3_retrieval.evaluation.command import evaluate

DOCUMENT = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
# Of another command.
FOREIGN = {"--install-peers"}


def test_options_in_the_document_exist() -> None:
    """And the help names them alike."""
    help_text = CliRunner().invoke(evaluate, ["--help"]).stdout

    assert (
        set()
        == {
            name
            for name in re.findall(r"--[a-z][a-z-]+", DOCUMENT)
            if not re.search(rf"{name}\b", help_text)
        }
        - FOREIGN
    )


def test_examples_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The evaluation in Python, and MTEB's."""

    def connect(_: str) -> Client:
        return Client(transport=FakeTransport())

    monkeypatch.setattr(bgem3_client, "Client", connect, raising=False)
    # By default it keeps results in the user's cache.
    monkeypatch.setattr(mteb, "evaluate", partial(mteb.evaluate, cache=None))
    monkeypatch.setattr(mteb, "get_tasks", lambda **_: [LocalTask()])
    in_python, in_mteb = EXAMPLES
    exec(in_python, {})
    names: dict[str, Any] = {}
    exec(in_mteb, names)
    lines = capsys.readouterr().out.splitlines()

    assert ["dense", "sparse", "dense+sparse"] == [
        line.split()[0] for line in lines if re.fullmatch(r"\S+ 0\.\d+", line)
    ]
    assert ["LocalRetrieval"] == [result.task_name for result in names["results"].task_results]
