"""The part of a passage that is shown, and its lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bgem3_retrieval.search.marks import Mark
from bgem3_retrieval.search.snippet import snippet, whole
from bgem3_retrieval.search.wrapping import wrapped

PASSAGE = (
    "The first sentence is about nothing in particular. The second one too, and it is longer. "
    "Here the pump AX-4711 is described. It has a seal of carbon. The last sentence is the end."
)
TEXTS = st.text(
    st.sampled_from("ab c\n。密码，（é(") | st.characters(exclude_categories=("C", "M")),
    max_size=80,
)


def marks_of(text: str, *words: str) -> list[Mark]:
    """A mark of weight 1 for the first of each word."""
    return [Mark(text.index(word), text.index(word) + len(word), 1.0) for word in words]


def lines(text: str, cells: int) -> list[str]:
    """The text of each line."""
    return [text[begin:end] for begin, end in wrapped(text, cells)]


def test_a_short_passage_is_shown_whole() -> None:
    """On one line, with its marks moved along."""
    text = "annual\n   leave is\tlong "
    shown = snippet(text, marks_of(text, "annual", "leave"), 40)

    assert "annual leave is long" == shown.text
    assert ["annual", "leave"] == [shown.text[begin:end] for begin, end in shown.marks]


def test_a_long_one_around_its_matched_words() -> None:
    """From the begin of their sentence; ellipses stand for the rest."""
    shown = snippet(PASSAGE, marks_of(PASSAGE, "pump", "AX-4711", "seal"), 80)

    assert "…Here the pump AX-4711 is described. It has a seal of carbon. The last sentence…" == (
        shown.text
    )
    assert ["pump", "AX-4711", "seal"] == [shown.text[begin:end] for begin, end in shown.marks]


def test_all_words_once_are_better_than_one_often() -> None:
    """The part is the one that shows the most of the query."""
    text = "pump pump pump pump pump pump " + "x " * 60 + "the pump and its seal"
    words = [text.index("pump", at) for at in (0, 5, 10, 15, 20, 25, 100)]
    marks = [Mark(at, at + 4, 1.0) for at in words] + marks_of(text, "seal")

    assert snippet(text, marks, 50).text.endswith("the pump and its seal")


def test_without_matched_words_the_begin_is_shown() -> None:
    """As long as it fits, to the end of a word."""
    assert "The first sentence is about…" == snippet(PASSAGE, [], 30).text


def test_chinese_takes_two_columns() -> None:
    """And a sentence ends with 。, without a space."""
    text = "第一句话没有什么。第二句话也没有什么。忘了密码可以在这里重置，不用找人。最后一句。"
    shown = snippet(text, marks_of(text, "密码"), 40)

    assert "…忘了密码可以在这里重置，不用找人。最后一…" == shown.text
    assert ["密码"] == [shown.text[begin:end] for begin, end in shown.marks]


@given(text=TEXTS, data=st.data(), cells=st.integers(8, 60))
def test_a_snippet_is_of_the_passage(text: str, data: st.DataObject, cells: int) -> None:
    """It fits, up to its last mark and the ellipses; marks hold what they held."""
    places = sorted(data.draw(st.sets(st.integers(0, max(len(text) - 1, 0)), max_size=4)))
    marks = [Mark(place, place + 1, 1.0) for place in places if text]
    shown = snippet(text, marks, cells)

    assert cell_len(shown.text) <= cells + 2
    assert shown.text.strip("…") in " ".join(text.split())
    for begin, end in shown.marks:
        assert 0 <= begin <= end <= len(shown.text)
    shown_characters = {shown.text[begin:end].strip() for begin, end in shown.marks}
    assert shown_characters <= {text[mark.begin].strip() for mark in marks}


def test_a_whole_passage_keeps_its_line_breaks() -> None:
    """Marks are where they were."""
    assert ("a\n b", ((0, 1),)) == (
        whole("a\n b", [Mark(0, 1, 1.0)]).text,
        whole("a\n b", [Mark(0, 1, 1.0)]).marks,
    )


def test_lines_break_at_words_and_between_chinese_characters() -> None:
    """But no line begins with a full stop; a word that is too long is cut."""
    assert ["one two", "three"] == lines("one two three", 8)
    assert ["AX-1 微信支", "付密码。"] == lines("AX-1 微信支付密码。", 11)
    assert ["微信", "码。"] == lines("微信码。", 6)
    assert ["微", "（信"] == lines("微（信", 4)
    assert ["abcd", "efg"] == lines("abcdefg", 4)
    assert ["a", "", "b"] == lines("a\n\nb", 9)
    assert [""] == lines("", 9)


@given(text=TEXTS, cells=st.integers(2, 20))
def test_lines_fit_and_nothing_is_lost(text: str, cells: int) -> None:
    """But for white space at their ends."""
    broken = lines(text, cells)

    assert "".join(text.split()) == "".join("".join(broken).split())
    assert all(cell_len(line) <= cells or len(line.strip()) <= 1 for line in broken)
