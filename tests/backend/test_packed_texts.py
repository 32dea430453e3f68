"""What a step refuses, and which text it blames."""

from __future__ import annotations

import numpy as np
import pytest

from bgem3_backend.errors import InvalidRequestError
from bgem3_backend.packed_texts import (
    PackedTexts,
    check_hidden_states_shape,
    check_ids,
    check_lengths,
    check_packed_texts,
    check_tokens,
)

INT32_MAX = np.iinfo(np.int32).max


def int32(*values: int):
    """Return an INT32 array."""
    return np.array(values, np.int32)


def packed(*texts: list[int]) -> PackedTexts:
    """Pack the ids of some texts."""
    return PackedTexts(int32(*(token for text in texts for token in text)), int32(*map(len, texts)))


def test_each_text_starts_where_the_one_before_ends():
    """``starts`` holds a position in ``input_ids`` for each text."""
    texts = packed([0, 5, 2], [0, 2], [0, 6, 7, 2])

    assert [0, 3, 5] == texts.starts.tolist()


def test_starts_do_not_overflow():
    """Lengths are INT32; what they add up to is not."""
    texts = PackedTexts(int32(), int32(INT32_MAX, INT32_MAX, 1))

    assert [0, INT32_MAX, 2 * INT32_MAX] == texts.starts.tolist()


@pytest.mark.parametrize("lengths", [(1,), (8,), (1, 8, 1)])
def test_lengths_within_the_contract_pass(lengths):
    """Both ends of the range are inside."""
    check_lengths(int32(*lengths), sum(lengths), max_length_tokens=8)


@pytest.mark.parametrize(
    ("lengths", "token_count", "index", "message"),
    [
        ((), 0, None, "'lengths' is empty: send at least one text"),
        ((3, 0), 3, 1, "[index=1] 'lengths' says 0 tokens; a text has 1 to 8"),
        ((3, 2, 4, -1, 0), 8, 3, "[index=3] 'lengths' says -1 tokens; a text has 1 to 8"),
        ((9,), 9, 0, "[index=0] 'lengths' says 9 tokens; a text has 1 to 8"),
        ((3, 4), 6, None, "'lengths' adds up to 7 tokens, but 6 were sent"),
        ((3, 4), 8, None, "'lengths' adds up to 7 tokens, but 8 were sent"),
    ],
    ids=["none", "zero", "negative", "too long", "too few tokens", "too many tokens"],
)
def test_lengths_outside_the_contract_are_refused(lengths, token_count, index, message):
    """The first bad text is named by its index, where there is one to name."""
    with pytest.raises(InvalidRequestError) as caught:
        check_lengths(int32(*lengths), token_count, max_length_tokens=8)

    assert message == str(caught.value)
    assert index == caught.value.index


def test_lengths_that_wrap_around_do_not_pass_for_their_remainder():
    """Lengths that add up to the token count modulo 2^32 are wrong all the same."""
    lengths = int32(INT32_MAX, INT32_MAX, 2 + 5)

    with pytest.raises(InvalidRequestError, match="adds up to 4294967301 tokens, but 5 were sent"):
        check_lengths(lengths, 5, max_length_tokens=INT32_MAX)


@pytest.mark.parametrize(
    ("texts", "index", "token"),
    [
        (([0, 100, 2], [0, 2]), 0, 100),
        (([0, 2], [-1, 2]), 1, -1),
        (([0, 2], [0, 99, 2], [5, 7, 3000]), 2, 3000),
        (([0, 2], [500], [600]), 1, 500),
    ],
)
def test_an_id_outside_the_vocabulary_is_refused(texts, index, token):
    """The first text that holds one is named."""
    tokens = packed(*texts)
    with pytest.raises(InvalidRequestError) as caught:
        check_ids(tokens.input_ids, vocabulary_size=100, lengths=tokens.lengths)

    assert f"[index={index}] 'input_ids' holds {token}; the vocabulary has ids 0 to 99" == str(
        caught.value
    )
    assert index == caught.value.index


def test_no_text_is_named_where_none_is_known():
    """Tokens that come without lengths: the id alone is named."""
    with pytest.raises(InvalidRequestError) as caught:
        check_ids(int32(0, 5, 100), vocabulary_size=100)

    assert "'input_ids' holds 100; the vocabulary has ids 0 to 99" == str(caught.value)
    assert caught.value.index is None


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((), "'input_ids' is empty: send at least one token"),
        ((0, 100, 5, 2), "the request holds 4 tokens; at most 3 are taken at once"),
        ((0, -1, 2), "'input_ids' holds -1; the vocabulary has ids 0 to 99"),
    ],
)
def test_tokens_without_lengths_are_checked_too(ids, message):
    """Whether there are any, how many, and which."""
    check_tokens(int32(0, 99, 2), vocabulary_size=100, max_tokens=3)
    with pytest.raises(InvalidRequestError, match=message):
        check_tokens(int32(*ids), vocabulary_size=100, max_tokens=3)


def test_first_and_last_id_of_the_vocabulary_pass():
    """Both ends of the vocabulary are inside."""
    check_ids(int32(0, 99), vocabulary_size=100)


def test_packed_texts_are_checked_for_everything():
    """Lengths first, then the size of the request, then its ids."""
    limits = {"vocabulary_size": 100, "max_length_tokens": 4, "max_tokens": 5}

    check_packed_texts(packed([0, 99, 2], [0, 2]), **limits)
    with pytest.raises(InvalidRequestError, match=r"^\[index=1\] 'lengths' says 5 tokens"):
        check_packed_texts(packed([0, 2], [0, 100, 5, 5, 2]), **limits)
    with pytest.raises(InvalidRequestError, match="holds 6 tokens; at most 5 are taken at once"):
        check_packed_texts(packed([0, 100, 2], [0, 5, 2]), **limits)
    with pytest.raises(InvalidRequestError, match=r"^\[index=1\] 'input_ids' holds 100;"):
        check_packed_texts(packed([0, 2], [0, 100, 2]), **limits)


@pytest.mark.parametrize("shape", [(7,), (7, 31), (7, 33), (1, 7, 32), ()])
def test_hidden_states_of_another_shape_are_refused(shape):
    """The message says what was sent and what is expected."""
    with pytest.raises(InvalidRequestError) as caught:
        check_hidden_states_shape(shape, 32)

    assert f"'hidden_states' has shape {list(shape)}; [tokens, 32] is expected" == str(caught.value)


def test_hidden_states_of_the_right_width_pass():
    """Any number of tokens will do: the lengths are held to it elsewhere."""
    check_hidden_states_shape((7, 32), 32)
    check_hidden_states_shape((0, 32), 32)
