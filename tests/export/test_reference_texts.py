"""The texts that exports are compared on are as long, and as unlike, as they say."""

from __future__ import annotations

import re

import pytest
from tokenizers import Tokenizer

from bgem3_export.reference_texts import _SENTENCES, REFERENCE_TEXTS, long_reference_text


@pytest.fixture(scope="module")
def tokenizer(demo_model_directory) -> Tokenizer:
    """A tokenizer with XLM-RoBERTa's vocabulary."""
    return Tokenizer.from_file(str(demo_model_directory / "tokenizer.json"))


def test_the_texts_are_of_mixed_length(tokenizer):
    """Empty, one token and a paragraph among them; no two are the same."""
    lengths = sorted(len(tokenizer.encode(text)) for text in REFERENCE_TEXTS)

    assert [2, 3] == lengths[:2]
    assert 90 < lengths[-1] < 150
    assert len(set(lengths)) > len(lengths) / 2
    assert len(set(REFERENCE_TEXTS)) == len(REFERENCE_TEXTS)


@pytest.mark.parametrize("tokens", [1, 500, 2048, 8190])
def test_the_long_text_is_long_enough(tokenizer, tokens):
    """At least as long as asked for, and not much longer."""
    length = len(tokenizer.encode(long_reference_text(tokens), add_special_tokens=False))
    longest_sentence = max(length_tokens for _, length_tokens in _SENTENCES)

    assert tokens <= length <= tokens * 1.1 + longest_sentence + 4
    assert long_reference_text(tokens) == long_reference_text(tokens)


def test_no_sentence_of_the_long_text_is_repeated():
    """Each is numbered, so that a token's context differs wherever it stands."""
    numbers = [int(number) for number in re.findall(r"(?:^| )(\d+)\. ", long_reference_text(2048))]

    assert len(numbers) > 100
    assert list(range(1, len(numbers) + 1)) == numbers
