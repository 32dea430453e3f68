"""The example of docs/chunks.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bgem3_retrieval.chunks.options import ChunkOptions

DOCUMENT = Path(__file__).parents[3] / "docs" / "chunks.md"


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands; the sizes in it are the defaults."""
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}

    exec(compile(example, str(DOCUMENT), "exec"), names)

    assert f"max_tokens={ChunkOptions().max_tokens}" in example
    assert f"overlap_tokens={ChunkOptions().overlap_tokens}" in example
    assert (
        "0 56 11 ('Passwords',) Passwords\n\nHow to reset one. Click on 'Forgot password'.\n"
        == capsys.readouterr().out
    )
