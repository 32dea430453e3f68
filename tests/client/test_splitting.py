"""Cutting a call's texts into requests, and putting the answers together again."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgem3_client import AsyncClient, FakeTransport, InvalidInputError, Limits
from bgem3_client.splitting import estimated_tokens, split

small_limits = st.builds(
    Limits,
    max_in_flight=st.integers(1, 4),
    max_texts_per_request=st.integers(1, 5),
    max_tokens_per_request=st.integers(1, 60),
)


@given(st.lists(st.integers(0, 40), max_size=50), small_limits)
def test_requests_cover_all_texts_within_the_limits(tokens, limits):
    """Requests join up, none is empty, and only a text alone may be above the token limit."""
    parts = list(split(tokens, limits))

    assert list(range(len(tokens))) == [i for part in parts for i in range(len(tokens))[part]]
    for part in parts:
        texts = tokens[part]
        assert 1 <= len(texts) <= limits.max_texts_per_request
        assert len(texts) == 1 or sum(texts) <= limits.max_tokens_per_request


@given(st.lists(st.integers(1, 40), min_size=2, max_size=50), small_limits)
def test_requests_are_as_large_as_the_limits_allow(tokens, limits):
    """A request ends only where one more text would be too much."""
    parts = list(split(tokens, limits))

    for part in parts[:-1]:
        with_next = tokens[part.start : part.stop + 1]
        assert (
            len(with_next) > limits.max_texts_per_request
            or sum(with_next) > limits.max_tokens_per_request
        )


def test_text_counts_for_its_bytes_up_to_max_length():
    """The estimate is bytes and two special tokens, `max_length` at most."""
    assert [2, 5, 8, 8] == [estimated_tokens(text, 8) for text in (b"", b"abc", b"a" * 6, b"a" * 9)]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("ab ", max_size=30), min_size=1, max_size=30),
    small_limits,
    st.integers(1, 12),
)
def test_split_call_equals_one_request(texts, limits, max_length):
    """However a call is cut, all representations are those of one request, in the same order."""

    async def encode(limits):
        async with AsyncClient(transport=FakeTransport(), limits=limits) as client:
            return await client.encode(
                texts,
                {"dense", "sparse", "colbert"},
                max_length=max_length,
                return_tokens=True,
            )

    whole, cut = asyncio.run(encode(Limits(1, 1000, 10**6))), asyncio.run(encode(limits))

    assert len(whole) == len(cut) == len(texts)
    np.testing.assert_array_equal(whole.dense, cut.dense)
    np.testing.assert_array_equal(whole.token_lengths, cut.token_lengths)
    np.testing.assert_array_equal(whole.truncated, cut.truncated)
    assert whole.tokens == cut.tokens
    assert [row.tokens() for row in whole.sparse] == [row.tokens() for row in cut.sparse]
    for left, right in zip(whole.colbert, cut.colbert, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "name", ["max_in_flight", "max_texts_per_request", "max_tokens_per_request"]
)
def test_limits_are_positive(name):
    """A limit of nothing is refused, by name."""
    with pytest.raises(InvalidInputError, match=f"{name} must be 1 or more, not 0"):
        Limits(**{name: 0})
