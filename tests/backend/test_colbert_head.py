"""The ColBERT head: a linear layer, the cls row dropped, the eos row kept, rows of length 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bgem3_backend.colbert import ColbertHead, ColbertOutput
from bgem3_backend.errors import NotFiniteError
from bgem3_backend.heads import LinearHead

HIDDEN_SIZE, COLBERT_SIZE = 6, 4
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(COLBERT_SIZE, HIDDEN_SIZE)).astype(np.float32)
BIAS = RANDOM.normal(size=COLBERT_SIZE).astype(np.float32)
HEAD = ColbertHead(LinearHead(torch.from_numpy(WEIGHT), torch.from_numpy(BIAS)))


def states_of(lengths: list[int]):
    """Return random hidden states for texts of these lengths."""
    return RANDOM.normal(size=(sum(lengths), HIDDEN_SIZE)).astype(np.float32)


def run(states, lengths: list[int]) -> ColbertOutput:
    """Run the head under test."""
    return HEAD(torch.from_numpy(states), torch.tensor(lengths))


def formula(states):
    """``_colbert_embedding`` of FlagEmbedding 1.4.2 for one text."""
    vectors = states[1:] @ WEIGHT.T + BIAS
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_each_text_gets_the_vectors_of_the_formula(lengths):
    """One row less than tokens, none for a text of one token; no row from a neighbour."""
    states = states_of(lengths)
    output = run(states, lengths)
    expected = [formula(text) for text in np.split(states, np.cumsum(lengths)[:-1])]

    assert [length - 1 for length in lengths] == output.lengths.tolist()
    np.testing.assert_allclose(output.vectors.numpy(), np.concatenate(expected), atol=1e-5)


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1]])
def test_texts_of_one_token_have_no_rows(lengths):
    """The answer is an empty array of the right width."""
    output = run(states_of(lengths), lengths)

    assert (0, COLBERT_SIZE) == tuple(output.vectors.shape)
    assert [0] * len(lengths) == output.lengths.tolist()


def test_outputs_have_the_contracts_types():
    """FP32 vectors and INT32 lengths, also from FP16 hidden states."""
    output = run(states_of([3]).astype(np.float16), [3])

    assert torch.float32 == output.vectors.dtype
    assert torch.int32 == output.lengths.dtype


def test_half_precision_states_are_normalised_in_full_precision():
    """Squares that overflow FP16, and that vanish in it, still give rows of length 1."""
    direction = np.array([1, -2, 3, -4, 5, -6], np.float32)
    states = np.stack([direction, direction * 1e4, direction * 1e-4]).astype(np.float16)
    head = ColbertHead(LinearHead(torch.eye(HIDDEN_SIZE), torch.zeros(HIDDEN_SIZE)))
    output = head(torch.from_numpy(states), torch.tensor([3]))

    expected = np.broadcast_to(direction / np.linalg.norm(direction), (2, HIDDEN_SIZE))
    np.testing.assert_allclose(output.vectors.numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_an_error(value):
    """It is never answered, wherever in the request it stands."""
    states = states_of([3, 1, 4, 2])
    states[[5, 9], 2] = value

    with pytest.raises(NotFiniteError, match="a token vector that is not finite") as caught:
        run(states, [3, 1, 4, 2])

    assert (2, 3) == caught.value.indices


def test_the_cls_row_is_not_looked_at():
    """Its vector is dropped, so what it holds cannot spoil the others (dense tells of it)."""
    states = states_of([3, 4])
    expected = run(states, [3, 4]).vectors
    states[0] = np.nan

    assert torch.equal(expected, run(states, [3, 4]).vectors)


def test_a_vector_too_long_to_be_normalised_is_an_error():
    """Its numbers are finite and its length is not: normalised, it would be zero."""
    states = states_of([3])
    states[1] = 3e38

    with pytest.raises(NotFiniteError, match="a token vector that is not finite"):
        run(states, [3])


@pytest.mark.parametrize("rows", [1, 12, 31, 32])
def test_few_rows_are_multiplied_like_many(rows):
    """At BGE-M3's width: a text's vectors are the same alone and beside others."""
    random = torch.Generator().manual_seed(0)
    head = ColbertHead(
        LinearHead(
            torch.randn(1024, 1024, generator=random) / 32, torch.randn(1024, generator=random)
        )
    )
    states = torch.randn(200, 1024, generator=random)
    alone = head(states[: rows + 1], torch.tensor([rows + 1]))
    beside = head(states, torch.tensor([rows + 1, 199 - rows]))

    np.testing.assert_allclose(beside.vectors[:rows].numpy(), alone.vectors.numpy(), atol=1e-6)


def test_hidden_states_are_left_as_they_were():
    """Other steps read them too."""
    states = states_of([3, 4])
    before = states.copy()
    run(states, [3, 4])

    np.testing.assert_array_equal(before, states)
