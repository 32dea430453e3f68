"""``SearchOptions``: what goes together."""

from __future__ import annotations

from typing import Any

import pytest

from bgem3_client import InvalidInputError
from bgem3_retrieval.search.options import SearchOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 0}, "limit is 0; it must be from 1 to 10,000"),
        ({"limit": True}, "limit is True; it must be an integer"),
        ({"limit": 10, "candidates": 5}, "candidates is 5; it must be from 10 (the limit) to"),
        ({"limit": 10, "rerank_candidates": 5}, "rerank_candidates is 5; it must be from 10"),
        ({"mode": "fast"}, "mode is 'fast'; it must be one of hybrid, dense, sparse, colbert"),
        ({"fusion": "max"}, "fusion is 'max'; it must be one of weighted, rrf"),
        ({"normalization": "z"}, "normalization is 'z'; it must be one of none, query, minmax"),
        ({"dense_weight": -1}, "dense_weight is -1; it must be 0 or more"),
        ({"sparse_weight": float("nan")}, "sparse_weight is nan; it must be a finite number"),
        ({"dense_weight": 0, "sparse_weight": 0}, "are both 0: one must count"),
        ({"colbert_weight": 1.5}, "colbert_weight is 1.5; it must be from 0 to 1"),
        ({"min_score": float("inf")}, "min_score is inf; it must be a finite number"),
        ({"mode": "colbert", "rerank": False}, "orders by ColBERT"),
    ],
)
def test_bad_options_say_what_is_wrong(values: dict[str, Any], message: str) -> None:
    """With the option's name, its value, and what it may be."""
    with pytest.raises(InvalidInputError) as caught:
        SearchOptions(**values)

    assert message in str(caught.value)


def test_candidates_follow_the_limit() -> None:
    """50, or as many as hits are wanted, unless said otherwise."""
    depths = [
        SearchOptions(limit=limit, candidates=candidates).depth
        for limit, candidates in ((10, None), (200, None), (10, 20))
    ]

    assert [50, 200, 20] == depths


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"dense": 0.7, "sparse": 0.3}),
        ({"dense_weight": 3, "sparse_weight": 1}, {"dense": 0.75, "sparse": 0.25}),
        ({"fusion": "rrf", "dense_weight": 3}, {"dense": 1.0, "sparse": 1.0}),
        ({"mode": "sparse"}, {"sparse": 1.0}),
        ({"mode": "colbert"}, {"colbert": 1.0}),
    ],
)
def test_weights(values: dict[str, Any], expected: dict[str, float]) -> None:
    """Only their proportion matters."""
    assert pytest.approx(expected) == SearchOptions(**values).weights
