"""Tests of differences between systems."""

from __future__ import annotations

import numpy as np
import pytest

from bgem3_retrieval.evaluation.significance import Test, compare, holm


@pytest.mark.parametrize("test", ["permutation", "t-test"])
def test_a_planted_difference_is_found_and_noise_is_not(test: Test) -> None:
    """On a hundred queries, one of three systems is better by a tenth."""
    random = np.random.default_rng(4)
    base = random.uniform(0, 0.8, 100)
    values = {
        "a": base + random.normal(0, 0.1, 100),
        "b": base + random.normal(0, 0.1, 100),
        "better": base + 0.1 + random.normal(0, 0.1, 100),
    }
    found = {(item.first, item.second): item for item in compare(values, test)}

    assert not found["a", "b"].is_significant
    assert found["a", "better"].is_significant
    assert pytest.approx(np.mean(values["a"] - values["better"])) == (
        found["a", "better"].difference
    )


def test_few_queries_are_tested_exactly() -> None:
    """Three differences of one sign: of eight ways to flip them two are as extreme."""
    (item,) = compare({"a": np.array([0.5, 0.4, 0.3]), "b": np.zeros(3)})

    assert 2 / 8 == item.p


def test_equal_systems_differ_by_chance() -> None:
    """And there is no division by nothing."""
    (item,) = compare({"a": np.ones(5), "b": np.ones(5)}, "t-test")

    assert (0.0, 1.0, 1.0) == (item.difference, item.p, item.p_corrected)


def test_holm_corrects_the_smallest_most() -> None:
    """Times 4, 3, 2, 1 from the smallest on, never falling, 1 at most. Holm (1979)."""
    assert pytest.approx([0.03, 0.06, 0.06, 0.02]) == holm([0.01, 0.03, 0.04, 0.005])
    assert [1.0, 1.0] == holm([0.9, 0.8])
