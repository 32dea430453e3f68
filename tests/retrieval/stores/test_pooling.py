"""Token pooling."""

from __future__ import annotations

import numpy as np
import pytest
from some_points import units

from bgem3_client import InvalidInputError
from bgem3_retrieval.stores.pooling import pool_tokens


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 64, 401])
@pytest.mark.parametrize("factor", [2, 3, 16])
def test_as_many_as_asked_for(rows: int, factor: int) -> None:
    """A vector for each ``factor`` rows, of length 1."""
    pooled = pool_tokens(units(1, rows, 16), factor)

    assert (-(-rows // factor), 16) == pooled.shape
    assert np.ones(len(pooled)) == pytest.approx(np.linalg.norm(pooled, axis=1), abs=1e-6)


def test_similar_tokens_become_one() -> None:
    """Clusters are means of what is alike wherever it stands, in the order of the text."""
    first, second, third = np.eye(8, dtype=np.float32)[:3]
    noise = 0.01 * units(2, 6, 8)
    rows = np.stack([first, second, first, third, second, third]) + noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    pooled = pool_tokens(rows, 2)

    expected = np.stack([rows[0] + rows[2], rows[1] + rows[4], rows[3] + rows[5]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert expected == pytest.approx(pooled, abs=1e-6)


def test_the_order_is_the_texts() -> None:
    """However the clustering numbers them, a cluster stands where its first token stood."""
    groups = units(11, 20, 16)
    of_row = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 2))

    pooled = pool_tokens(groups[of_row], 2)

    in_order = groups[list(dict.fromkeys(of_row.tolist()))]
    assert in_order == pytest.approx(pooled, abs=1e-6)


def test_fp16_stays_fp16() -> None:
    """The type is the input's; the means are taken in FP32."""
    rows = units(3, 40, 32)

    pooled = pool_tokens(rows.astype(np.float16), 2)

    assert np.float16 == pooled.dtype
    assert pool_tokens(rows, 2) == pytest.approx(pooled.astype(np.float32), abs=2e-3)


def test_equal_tokens_are_one() -> None:
    """A text that repeats one word needs one vector."""
    pooled = pool_tokens(np.repeat(units(4, 1, 8), 10, axis=0), 2)

    assert 1 <= len(pooled) <= 5
    assert units(4, 1, 8)[0] == pytest.approx(pooled[0], abs=1e-6)


def test_opposite_tokens_give_no_nan() -> None:
    """A mean of length 0 stays finite."""
    row = units(5, 1, 8)

    assert np.isfinite(pool_tokens(np.concatenate([row, -row]), 2)).all()


def test_long_texts_are_pooled_in_parts() -> None:
    """Beyond 2,048 rows each part is pooled by itself."""
    rows = units(6, 2048 + 10, 8)

    pooled = pool_tokens(rows, 4)

    assert 512 + 3 == len(pooled)
    assert pool_tokens(rows[2048:], 4) == pytest.approx(pooled[512:])


def test_factor_1_changes_nothing() -> None:
    """The rows themselves."""
    rows = units(7, 5, 8)

    assert rows is pool_tokens(rows, 1)


def test_what_cannot_be_pooled() -> None:
    """A factor below 1, and rows that are no matrix."""
    with pytest.raises(InvalidInputError, match="not 0"):
        pool_tokens(units(8, 3, 8), 0)
    with pytest.raises(InvalidInputError, match="matrix"):
        pool_tokens(units(8, 8), 2)


def test_scores_suffer_little() -> None:
    """Tokens that come in groups keep their MaxSim when they are pooled by two."""
    centres = np.repeat(units(9, 30, 64), 4, axis=0)
    rows = centres + 0.03 * units(10, 120, 64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    query = rows[::10]

    pooled = pool_tokens(rows, 2)

    full = (query @ rows.T).max(axis=1).mean()
    assert full == pytest.approx((query @ pooled.T).max(axis=1).mean(), abs=0.01)
