"""Where sentences end, and where a text without sentences is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uniseg.graphemecluster import grapheme_cluster_boundaries
from uniseg.sentencebreak import sentence_boundaries

from bgem3_retrieval.chunks.boundaries import (
    Boundary,
    cut_at_or_before,
    line_ends,
    sentence_ends,
)

PIECES = [
    *("word", "Word", "WORD", "3", "é", "ß", "Ünder", "шаг", "Шаг", "文", "字", "か", "ก", "ह"),
    *(".", "!", "?", "...", "。", "！", "？", "।", "؟", "․", "．", "‼"),
    *('"', "'", ")", "]", "”", "’", "」", ",", "，", "-", ":", "、", "\u0301", "\u200d", "\u200b"),
    # No signs: the package knows none in rule SB8.
    *(" ", "  ", "\u3000", "\u00a0"),
]


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    ends = [0, *sentence_ends(text, 0, len(text)), len(text)]
    return [text[begin:end] for begin, end in pairwise(ends)]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join))
def test_sentences_are_unicodes(text):
    """What UAX #29 says, where the three exceptions do not apply."""
    assert list(sentence_boundaries(text))[1:-1] == list(sentence_ends(text, 0, len(text)))


@pytest.mark.parametrize(
    "expected",
    [
        ["One. ", "Two! ", "Three?! ", "Four... ", "Five"],
        ["It costs 3.5 by U.S. law, e.g. this one. ", "“Really?” ", "he asked."],
        ["他说：“你好！”", "然后走了。", "真的吗？！", "是的；", "好。", "（完。）", "下一句"],
        ["これは文です。", "「次の文。」", "終わり"],
        ["हिन्दी वाक्य। ", "दूसरा।"],
        ["A line\nthat is wrapped. ", "Another\nline.\n", "A third\n\n", "and a new paragraph"],
    ],
)
def test_sentences(expected):
    """Of several languages; wrapped lines, semicolons and brackets as they are meant."""
    assert expected == sentences("".join(expected))


def test_only_a_part_of_the_text_is_looked_at():
    """Places are those of the whole text."""
    assert [8] == list(sentence_ends("A. Bcd. Ef. Gh.", 3, 11))
    assert [7] == list(line_ends("a\nb  \n\nc\nd", 2, 8))


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("some words here", 8, ("some ", Boundary.WORD)),
        ("some words here", 10, ("some words", Boundary.WORD)),
        ("some words here", 3, ("som", Boundary.CHARACTER)),
        ("第一句，第二句话没有空格", 6, ("第一句，", Boundary.WORD)),
        ("第一句没有空格", 3, ("第一句", Boundary.CHARACTER)),
        ("ab👨‍👩‍👧‍👦cd", 4, ("ab", Boundary.CHARACTER)),
        ("👨‍👩‍👧‍👦cd", 4, ("👨‍👩‍👧‍👦", Boundary.CHARACTER)),
        ("🇨🇳🇫🇷🇩🇪", 3, ("🇨🇳", Boundary.CHARACTER)),
        ("e\u0301\u0302\u0303", 2, ("e\u0301\u0302\u0303", Boundary.CHARACTER)),
    ],
)
def test_cuts_inside_a_sentence(text, target, expected):
    """Behind a word, or else between what is seen as characters."""
    place, boundary = cut_at_or_before(text, 0, target, len(text))

    assert expected == (text[:place], boundary)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet="ae\u0301\u200d👩👧🇨🇫नम्ไเ가ᄀ密，", min_size=2, max_size=30), st.data())
def test_clusters_stay_whole(text, data):
    """Wherever the cut is wanted."""
    place, _ = cut_at_or_before(text, 0, data.draw(st.integers(1, len(text) - 1)), len(text))

    assert place in set(grapheme_cluster_boundaries(text)) - {0}
