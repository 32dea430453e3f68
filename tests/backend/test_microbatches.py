"""How the CPU trunk cuts a batch by its token budget."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgem3_backend.trunk.microbatches import plan_microbatches


def plan(lengths: list[int], microbatch_tokens: int) -> list[list[int]]:
    """Return the planned groups as lists."""
    return [
        group.tolist()
        for group in plan_microbatches(np.array(lengths, np.int32), microbatch_tokens)
    ]


@given(
    lengths=st.lists(st.integers(1, 8192), max_size=60),
    microbatch_tokens=st.integers(1, 20_000),
)
def test_plans_keep_their_promises(lengths, microbatch_tokens):
    """Each text once, short texts first, and no group above the budget unless it is one text."""
    groups = plan(lengths, microbatch_tokens)
    order = [text for group in groups for text in group]

    assert sorted(order) == list(range(len(lengths)))
    assert sorted(lengths) == [lengths[text] for text in order]
    for group in groups:
        padded_tokens = len(group) * max(lengths[text] for text in group)
        assert padded_tokens <= microbatch_tokens or len(group) == 1


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    microbatch_tokens=st.integers(1, 200),
)
def test_groups_are_as_large_as_the_budget_lets_them(lengths, microbatch_tokens):
    """The first text of a group would not have fitted into the group before."""
    groups = plan(lengths, microbatch_tokens)

    for before, group in pairwise(groups):
        assert (len(before) + 1) * lengths[group[0]] > microbatch_tokens


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([], []),
        ([7], [[0]]),
        ([2000], [[0]]),
        ([5, 5, 5, 5], [[0, 1], [2, 3]]),
        ([9, 3, 3, 4], [[1, 2], [3], [0]]),
    ],
    ids=["none", "one", "longer than the budget", "exactly the budget", "mixed"],
)
def test_groups_of_a_budget_of_ten(lengths, groups):
    """Worked examples; texts of one length keep their order."""
    assert groups == plan(lengths, 10)
