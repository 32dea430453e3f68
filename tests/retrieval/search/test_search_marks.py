"""Matched words: exact places of the tokens that query and passage share."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from search_texts import cut, ids_of

from bgem3_retrieval.search.marks import Mark, Marker


def marked(pieces: str, text: str) -> list[str]:
    """The words that a query marks in a passage which has all its tokens somewhere."""
    query, embedding = cut(pieces)
    marks = Marker(query, embedding).marks(text, embedding.sparse.as_dict())
    return [text[mark.begin : mark.end] for mark in marks]


@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        ("▁reset/▁password", "Please reset the password now", ["reset", "password"]),
        ("▁the", "then other the", ["the"]),
        ("▁Reset", "reset the Reset", ["Reset"]),
        ("▁reset", "reset, then (reset) and preset", ["reset"]),
        ("▁(/reset/)", "then (reset) again", ["reset"]),
        ("▁A/X/-47/11", "the AX-4711 and the AX-4712", ["AX-4711", "AX"]),
        ("▁A/X/-47/11", "11 X A", ["A"]),
        ("▁res/et", "the preset, the (et)", ["et"]),
        ("▁caf/é", "un café et un caf", ["café", "caf"]),
        ("▁/密码", "微信密码忘了", ["密码"]),
        ("▁/微信/支付/密码", "微信的支付密码", ["微信", "支付密码"]),
        ("▁密", "的密码 密码", ["密"]),
        ("▁비밀", "내 비밀번호를", ["비밀"]),
        ("▁hello/,/▁world", "a, b, c", []),
        ("▁annual/▁leave", "annual\n  leave", ["annual", "leave"]),
        ("▁the", "", []),
    ],
)
def test_words_are_found_as_tokens_are(pieces: str, text: str, expected: list[str]) -> None:
    """By case, by white space in front, to the end of a word; in Chinese wherever they stand."""
    assert expected == marked(pieces, text)


def test_what_touches_is_one_mark() -> None:
    """It weighs what its tokens contribute together."""
    query, embedding = cut("▁A/X/▁pump")
    contributions = dict(
        zip(ids_of(embedding, ["A", "X", "pump"]), (0.25, 0.5, 0.125), strict=True)
    )

    assert (Mark(4, 6, 0.75), Mark(7, 11, 0.125)) == Marker(query, embedding).marks(
        "the AX pump", contributions
    )


def test_tokens_without_weight_are_not_looked_for() -> None:
    """But they hold a word together."""
    query, embedding = cut("▁is/▁A/-/1", {"▁A": 1.0, "1": 1.0})

    assert (Mark(8, 11, 2.0),) == Marker(query, embedding).marks(
        "this is A-1", embedding.sparse.as_dict()
    )


def test_contributions_decide_what_is_marked() -> None:
    """A token that the passage has not is not marked though it reads alike."""
    query, embedding = cut("▁/密码/学")
    password, science = ids_of(embedding, ["密码", "学"])
    marker = Marker(query, embedding)

    assert (Mark(0, 3, 0.5),) == marker.marks("密码学", {password: 0.25, science: 0.25})
    assert (Mark(0, 2, 0.25),) == marker.marks("密码学", {password: 0.25})
    assert () == marker.marks("密码学", {})


def test_a_token_that_is_no_whole_word_is_marked_in_a_longer_one() -> None:
    """``▁reset`` is the front of "resets"; a shorter one is in front of too many words."""
    query, embedding = cut("▁reset/▁of")
    reset, of = ids_of(embedding, ["reset", "of"])
    marker = Marker(query, embedding)

    assert () == marker.marks("it resets often", {of: 0.5})
    assert (Mark(10, 15, 0.5),) == marker.marks("it resets reset", {reset: 0.5})
    assert (Mark(3, 8, 0.5),) == marker.marks("it resets often", {reset: 0.5, of: 0.5})


@pytest.mark.parametrize(
    ("pieces", "text", "expected"),
    [
        ("▁ABC", "die ＡＢＣ-Reihe", "ＡＢＣ"),
        ("▁Café", "un Cafe\u0301 noir", "Cafe\u0301"),
        ("▁kg", "zwei ㎏", "㎏"),
        ("▁/ガス", "都市ｶﾞｽ料金", "ｶﾞｽ"),
        ("▁한국", "\u1112\u1161\u11ab국", "\u1112\u1161\u11ab국"),
    ],
)
def test_normalised_characters_lead_back_to_the_text(pieces: str, text: str, expected: str) -> None:
    """The tokenizer reads NFKC; marks are places in the text as it is."""
    assert [expected] == marked(pieces, text)


WORDS = ["reset", "AX-4711", "密码", "ＡＢＣ", "Cafe\u0301", "㎏", "ｶﾞ", "the", "支付", "é", "s"]
TEXTS = st.lists(st.sampled_from([*WORDS, " ", "\n", ", ", "(", "。"]), max_size=20).map("".join)


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), text=TEXTS)
@example(words=["㎏", "s"], text="㎏s ㎏")
def test_marks_are_places_of_the_querys_words(words: list[str], text: str) -> None:
    """They are in order, do not touch, and hold what some words of the query read like."""
    query, embedding = cut("▁" + "/▁".join(unicodedata.normalize("NFKC", word) for word in words))
    marks = Marker(query, embedding).marks(text, embedding.sparse.as_dict())

    assert all(0 <= mark.begin < mark.end <= len(text) for mark in marks)
    assert all(one.end < other.begin for one, other in pairwise(marks))
    for mark in marks:
        found = unicodedata.normalize("NFKC", text[mark.begin : mark.end])
        assert found in {unicodedata.normalize("NFKC", word) for word in words}
        assert mark.weight > 0


@given(text=TEXTS)
def test_every_lone_word_is_marked(text: str) -> None:
    """What stands between white space is found, as often as it is there."""
    lone = f" reset {text} reset "
    query, embedding = cut("▁reset")
    marks = Marker(query, embedding).marks(lone, embedding.sparse.as_dict())

    assert (1, len(lone) - 1) == (marks[0].begin, marks[-1].end)
