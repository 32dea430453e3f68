"""Texts that the speed with long documents is measured with."""

from __future__ import annotations

import pytest

from bgem3_retrieval.evaluation.dataset import LONG_CHARACTERS, MemoryCorpus
from bgem3_retrieval.evaluation.speed import long_texts_of


@pytest.mark.parametrize("texts", [["short"], ["a", "b" * 700, "c" * 4000] * 3])
def test_short_documents_are_joined(texts: list[str]) -> None:
    """Into four texts that are long, however few documents there are; it is said that they are."""
    corpus = MemoryCorpus([f"d{place}" for place in range(len(texts))], texts)

    made, words = long_texts_of(corpus)

    assert 4 == len(made)
    assert all(len(text) > LONG_CHARACTERS for text in made)
    assert "made by joining" in words


def test_long_documents_are_taken_as_they_are() -> None:
    """Four of them, evenly spaced."""
    texts = [f"{place}" + "x" * LONG_CHARACTERS for place in range(8)] + ["short"]
    corpus = MemoryCorpus([f"d{place}" for place in range(9)], texts)

    assert (texts[:8:2], "4 of the 8 long documents") == long_texts_of(corpus)
