"""The merge in NumPy gives what the sparse head in torch gives behind its linear layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bgem3_backend.errors import NotFiniteError
from bgem3_backend.heads import LinearHead
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.sparse import SparseHead
from bgem3_backend.sparse_merge import SparseMerge, SparseWeights

VOCABULARY_SIZE = 12
IGNORED_IDS = (0, 1, 2, 3)
MERGE = SparseMerge(IGNORED_IDS, VOCABULARY_SIZE)

# Passes the one hidden value on, so that the head merges the same numbers.
HEAD = SparseHead(LinearHead(torch.ones(1, 1), torch.zeros(1)), IGNORED_IDS, VOCABULARY_SIZE)

tokens = st.tuples(
    st.integers(0, VOCABULARY_SIZE - 1),
    st.sampled_from([0.0, -0.0, 2.0**-100]) | st.floats(-10, 10, width=32),
)


def merged(texts: list[list[tuple[int, float]]]) -> SparseWeights:
    """Merge texts of (id, weight before relu)."""
    flat = [token for text in texts for token in text]
    packed = PackedTexts(
        np.array([token for token, _ in flat], np.int32),
        np.array([len(text) for text in texts], np.int32),
    )
    return MERGE(np.array([weight for _, weight in flat], np.float32), packed)


@given(texts=st.lists(st.lists(tokens, min_size=1, max_size=12), min_size=1, max_size=8))
def test_it_equals_the_head(texts):
    """To the bit: repeated, ignored and unweighted tokens, and texts without entries, included."""
    flat = [token for text in texts for token in text]
    expected = HEAD(
        torch.tensor([[weight] for _, weight in flat]),
        torch.tensor([token for token, _ in flat]),
        torch.tensor([len(text) for text in texts]),
    )
    actual = merged(texts)

    for name in ("indices", "values", "lengths"):
        wanted, found = getattr(expected, name).numpy(), getattr(actual, name)
        assert wanted.dtype == found.dtype
        np.testing.assert_array_equal(found, wanted)


def test_a_request_without_any_entry():
    """Empty arrays, and a zero for each text."""
    output = merged([[(0, 1.0)], [(5, -1.0)]])

    assert [0, 0] == output.lengths.tolist()
    assert (0,) == output.indices.shape == output.values.shape


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("token", [5, 0], ids=["a word", "an ignored token"])
def test_a_weight_that_is_not_finite_is_an_error(value, token):
    """Also where relu or the list of ignored tokens would hide it."""
    with pytest.raises(NotFiniteError, match="not finite") as caught:
        merged([[(5, 1.0), (4, 1.0)], [(4, 1.0), (token, value)], [(6, 1.0)]])

    assert (1,) == caught.value.indices
