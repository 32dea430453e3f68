"""Fusion: one score of several, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_texts import sparse

from bgem3_retrieval.search.fusion import (
    normalized,
    own_score,
    ranks,
    reciprocal_ranks,
    weighted_sums,
    with_colbert,
    without_zeros,
)

SCORES = st.lists(st.none() | st.floats(-1, 1), min_size=1, max_size=12)


def test_equal_scores_share_the_better_rank() -> None:
    """As at the Olympic games: 1, 2, 2, 4; no score, no rank."""
    assert [2, 1, None, 2, 4] == ranks([0.5, 0.9, None, 0.5, 0.1])


def test_no_common_token_is_no_rank() -> None:
    """An index of lexical weights would not have found it."""
    assert [1, None] == ranks(without_zeros([0.2, 0.0]))


def test_plain_scores_stay_as_they_are() -> None:
    """As FlagEmbedding adds them up; what is not there adds nothing."""
    assert [0.5, 0.0, -0.25] == normalized([0.5, None, -0.25], "none")


def test_lexical_scores_as_shares_of_the_querys_own() -> None:
    """1 is a passage with the query's words and weights; more is possible."""
    own = own_score(sparse({7: 0.5, 9: 0.5}))

    assert 0.5 == own
    assert [0.0, 0.5, 1.0, 1.5] == normalized([0.0, 0.25, 0.5, 0.75], "query", own)


def test_other_scores_have_no_unit() -> None:
    """Dense and ColBERT scores are cosines already; and a query may have no weights at all."""
    assert [0.5, -0.5] == normalized([0.5, -0.5], "query")
    assert [0.0, 0.0] == normalized([0.0, 0.0], "query", 0.0)


def test_minmax_stretches_over_the_candidates() -> None:
    """The worst is 0, the best 1; where all are alike nobody gets anything."""
    assert [0.0, 1.0, 0.5, 0.0] == normalized([0.25, 0.75, 0.5, None], "minmax")
    assert [0.0, 0.0] == normalized([0.5, 0.5], "minmax")
    assert [0.0] == normalized([None], "minmax")


def test_reciprocal_ranks_end_at_the_depth() -> None:
    """What a representation has not found it gives nothing, wherever it would stand."""
    assert [1 / 61, 1 / 62, 0.0, 0.0] == reciprocal_ranks([1, 2, 3, None], depth=2)
    assert [1 / 61, 1 / 63] == reciprocal_ranks([1, 3])


def test_weighted_sum() -> None:
    """Each value times its weight; a representation without a weight takes no part."""
    sums = weighted_sums(
        {"dense": [0.5, 1.0], "sparse": [1.0, 0.0], "colbert": [9.0, 9.0]},
        {"dense": 0.75, "sparse": 0.25},
    )

    assert [0.625, 0.75] == sums


def test_colbert_takes_its_share_of_the_weights() -> None:
    """The sum of the weights stays; 1 leaves nothing to the others."""
    assert {"dense": 0.375, "sparse": 0.125, "colbert": 0.5} == with_colbert(
        {"dense": 0.75, "sparse": 0.25}, 0.5
    )
    assert {"dense": 0.0, "sparse": 0.0, "colbert": 2.0} == with_colbert(
        {"dense": 1.0, "sparse": 1.0}, 1.0
    )


@given(scores=SCORES, other=st.floats(-1, 1))
@pytest.mark.parametrize("normalization", ["none", "query"])
def test_one_more_candidate_changes_no_other(
    scores: list[float | None], other: float, normalization: str
) -> None:
    """A score depends on nothing else that was found (minmax is the exception)."""
    alone = normalized(scores, normalization, 0.5)  # type: ignore[arg-type]

    assert alone == normalized([*scores, other], normalization, 0.5)[:-1]  # type: ignore[arg-type]


@given(scores=SCORES)
def test_normalising_keeps_the_order(scores: list[float | None]) -> None:
    """Nothing is swapped, whatever is done to the scores."""
    present = sorted(score for score in scores if score is not None)

    for normalization in ("none", "query", "minmax"):
        values = normalized(present, normalization, 0.5)  # type: ignore[arg-type]
        assert sorted(values) == values
