"""Whoever reads the README in Chinese is told to do the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH = ROOT / "README.md"
CHINESE = ROOT / "README.zh-CN.md"


def code_blocks(path: Path) -> list[tuple[str, str]]:
    """The language and text of each code block, without comments, which are translated."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [(language, re.sub(r" *#.*", "", block)) for language, block in found]


def links(path: Path) -> list[str]:
    """Where its links lead, in order."""
    text = path.read_text("utf-8")
    return re.findall(r"\]\(([^)]+)\)|<(http[^>]+)>", text)


def test_the_commands_are_the_same():
    """In the same order, to the letter."""
    commands = [block for block in code_blocks(ENGLISH) if block[0]]

    assert len(commands) > 8
    assert commands == [block for block in code_blocks(CHINESE) if block[0]]


def test_what_is_shown_is_the_same():
    """The tree of folders has its words translated, and has the same folders."""
    shown = [
        [re.findall(r"^[\w/]+/", block, re.MULTILINE) or block for _, block in code_blocks(path)]
        for path in (ENGLISH, CHINESE)
    ]

    assert shown[0] == shown[1]


def test_the_links_are_the_same():
    """But for the one to the other language."""
    english, chinese = links(ENGLISH), links(CHINESE)

    assert "README.zh-CN.md" == english[0][0]
    assert "README.md" == chinese[0][0]
    assert english[1:] == chinese[1:]


def test_the_headings_and_tables_are_the_same():
    """As many of each, in the same order, and code in tables and text is not translated."""

    def outline(path: Path) -> list[str]:
        return re.findall(r"^(#+|\|)", path.read_text("utf-8"), re.MULTILINE)

    def code(path: Path) -> set[str]:
        text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        return set(re.findall(r"`([^`\n]+)`", text))

    assert outline(ENGLISH) == outline(CHINESE)
    assert code(ENGLISH) == code(CHINESE)


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_what_is_linked_to_exists(path: Path):
    """Every document and folder."""
    targets = [target for target, _ in links(path) if target]

    assert [target for target in targets if not (ROOT / target).exists()] == []
