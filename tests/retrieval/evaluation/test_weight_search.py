"""The search for a hybrid's weights."""

from __future__ import annotations

import numpy as np
import pytest
from eval_run import planted

from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.systems import chosen_systems
from bgem3_retrieval.evaluation.weights import halves, search_weights, weight_grid


def test_a_planted_optimum_is_found() -> None:
    """Three wrong documents: each keeps away one kind of wrong weights.

    Relevant is (0.5, 0.5). Dense alone prefers (1, 0), sparse alone (0, 1), and with less than a
    third or more than two thirds of sparse one of them stays in front.
    """
    rows = [[0.5, 0.5, 0], [0.75, 0, 0], [0, 0.75, 0]]
    dataset, scored = planted([rows] * 40, [0] * 40)
    (hybrid,) = chosen_systems(["dense+sparse"], (0.9, 0.1, 1))
    search = search_weights(dataset, scored, hybrid)

    assert (0.5, 0.5, 0.0) == search.best.weights
    assert (1.0, 1.0) == (search.best.tuning, search.best.held_out)
    assert pytest.approx((0.9, 0.1, 0)) == search.given.weights
    assert 1 / np.log2(3) == pytest.approx(search.given.held_out)
    assert 1 in search.single.weights
    assert (20, 20) == (search.tuning_queries, search.held_out_queries)


def test_weights_are_chosen_on_one_half_and_judged_on_the_other() -> None:
    """Where the halves want opposite things, the held-out half shows it."""
    names = [f"q{place:03}" for place in range(40)]
    tuning, held_out = halves(names, 3)
    dense_is_right, sparse_is_right = [[1, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0]]
    dataset, scored = planted(
        [dense_is_right if name in tuning else sparse_is_right for name in names], [0] * 40
    )
    (hybrid,) = chosen_systems(["dense+sparse"])
    search = search_weights(dataset, scored, hybrid, seed=3)

    assert search.best.weights[0] > 0.5
    assert 1.0 == search.best.tuning
    assert search.best.held_out < 1
    assert set(names) == {*tuning, *held_out}
    assert tuning != halves(names, 4)[0]


@pytest.mark.parametrize(
    ("outputs", "count"), [({"dense", "sparse"}, 21), ({"dense", "sparse", "colbert"}, 66)]
)
def test_the_grid_has_all_weights_that_add_up(outputs: set[Output], count: int) -> None:
    """Corners and all."""
    grid = list(weight_grid(frozenset(outputs)))

    assert count == len(set(grid))
    assert all(pytest.approx(1) == sum(weights) for weights in grid)
    assert (1.0, 0.0, 0.0) in grid
