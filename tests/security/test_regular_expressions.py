"""Patterns that callers' texts are matched against take time in proportion to them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from bgem3_retrieval.chunks.boundaries import cut_at_or_before, sentence_ends
from bgem3_retrieval.documents.formats import format_by_content
from bgem3_retrieval.documents.readers import builder, html_page, markdown_file, pdf_layout
from bgem3_retrieval.documents.readers.characters import clean
from bgem3_retrieval.errors import ConditionError
from bgem3_retrieval.search.filters import parse_condition
from bgem3_server.gateway.serialization.media_type import best_media_type

CHARACTERS = 60_000
# In proportion it is a fraction of a second; as the square of the length, hours.
SECONDS = 20


def condition(text: str) -> None:
    with suppress(ConditionError):
        parse_condition(text)


PATTERNS: dict[str, Callable[[str], object]] = {
    "content": lambda text: format_by_content(text[:8192].encode()),
    "charset": lambda text: html_page._CHARSET.search(text[:4096].encode()),
    "tags": lambda text: list(html_page._TAG.finditer(text)),
    "front matter": markdown_file._FRONT_MATTER.match,
    "paragraphs": lambda text: list(builder._PARAGRAPH_END.finditer(text)),
    "characters": clean,
    "compounds": pdf_layout._COMPOUND.findall,
    "contents": pdf_layout._CONTENTS_LINE.search,
    "section": pdf_layout._SECTION_NUMBER.match,
    "line end": lambda text: pdf_layout._SENTENCE_END.search(text),
    "sentences": lambda text: list(sentence_ends(text, 0, len(text))),
    "clusters": lambda text: cut_at_or_before(text, 0, len(text) - 1, len(text)),
    "condition": condition,
    "value": lambda text: condition(f"page>={text}"),
    "accept": lambda text: best_media_type(f"a/b;q={text[:65_536]}", ["a/b"]),
}
PUMPED = (
    "a", "1", ".", " ", "\n", "\n ", "<", "<a", "<!---->", "<!--", "<meta ", "'", "\\", "1.", "a-",
    "a.", ". ", ".)", "· ", "。」", "1 ", "🇨",
    "e\u0301", "\u0301", "👨\u200d", "---\n", "; q=", "(a,",
)  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_long_texts_take_no_longer_than_they_are_long(name: str) -> None:
    """Whatever they repeat, and whatever they end with."""

    def fail(*_: object) -> None:
        pytest.fail(f"{name} took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    try:
        for pumped in PUMPED:
            for head, tail in (("", ""), ("", "\0"), ("<", "!"), ("---\n", "x")):
                signal.alarm(SECONDS)
                PATTERNS[name](head + pumped * (CHARACTERS // len(pumped)) + tail)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
