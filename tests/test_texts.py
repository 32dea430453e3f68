"""The texts that other tests rely on are what they claim to be."""

from __future__ import annotations

from collections import Counter

import pytest
from texts import CHARACTERS_PER_TOKEN, load_records, load_texts, long_text


def test_every_language_has_texts_of_every_kind():
    """Each of twenty languages has at least 15 texts: queries, sentences and passages."""
    kinds = {
        language: Counter(record.kind for record in load_records() if record.language == language)
        for language in CHARACTERS_PER_TOKEN
    }

    assert len(kinds) == 20
    assert all(count.total() >= 15 for count in kinds.values())
    assert all({"short", "sentence", "passage"} == set(count) for count in kinds.values())


def test_texts_repeat_only_on_purpose():
    """No text occurs twice but for those that stand for duplicates."""
    repeated = {text for text, count in Counter(load_texts()).items() if count > 1}

    assert repeated == {"reset my payment password", "好"}


def test_edge_texts_reach_every_corner():
    """Nothing, NUL, line separators, joiners, private use, astral and special tokens are there."""
    edge = [record.text for record in load_records() if record.kind == "edge"]
    corners = ["\0", "\u2028", "\u200d", "\u202e", "\ufeff", "\ue000", "\ufdfa", "𠮷", "e\u0301"]
    corners += ["<mask>", "<s>", "</s>", "<unk>", "<pad>", "SELECT ", "std::", "https://"]

    assert len(edge) >= 40
    assert "" in edge
    assert not [corner for corner in corners if not any(corner in text for text in edge)]


def test_texts_are_valid_unicode():
    """Every text can be sent as UTF-8: lone surrogates are tested where they are made."""
    for text in load_texts():
        assert text == text.encode("utf-8").decode("utf-8")


@pytest.mark.parametrize("language", CHARACTERS_PER_TOKEN)
def test_a_long_text_has_the_length_asked_for_and_stays_the_same(language):
    """The same arguments give the same text, another seed another one of the same length."""
    first = long_text(500, language, seed=1)

    assert first == long_text(500, language, seed=1)
    assert first != long_text(500, language, seed=2)
    assert abs(len(first) - 500 * CHARACTERS_PER_TOKEN[language]) < 1
