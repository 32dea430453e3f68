"""Measures against values worked out by hand."""

from __future__ import annotations

from math import log2

import pytest

from bgem3_retrieval.evaluation.measures import MEASURES, judge

JUDGEMENTS = {"q1": {"a": 2, "b": 1, "z": 0}, "q2": {"c": 1}, "q3": {"d": 1}}


def test_measures_are_trec_evals() -> None:
    """First grade 1, then one judged 0, then grade 2; found second; nothing found."""
    run = {"q1": {"b": 3.0, "z": 2.0, "a": 1.0}, "q2": {"x": 2.0, "c": 1.0}}
    quality = judge(run, JUDGEMENTS, ["q1", "q2", "q3"])

    expected = {
        "nDCG@10": [(1 + 2 / log2(4)) / (2 + 1 / log2(3)), 1 / log2(3), 0],
        "recall@10": [1, 1, 0],
        "recall@100": [1, 1, 0],
        "MRR@10": [1, 0.5, 0],
        "MAP@100": [(1 / 1 + 2 / 3) / 2, 0.5, 0],
        "P@1": [1, 0, 0],
        "P@5": [2 / 5, 1 / 5, 0],
    }
    assert set(MEASURES) == set(expected)
    for measure, values in expected.items():
        assert values == pytest.approx(quality.values[measure].tolist()), measure
    assert pytest.approx((1 + 0.5) / 3) == quality.mean("MRR@10")
    assert 0.5 == quality.mean("MRR@10", ["q2"])


def test_measures_end_at_their_depth() -> None:
    """What comes eleventh does not count for a measure at 10, and does at 100."""
    run = {"q2": {**{f"x{place}": 20.0 - place for place in range(10)}, "c": 1.0}}
    quality = judge(run, JUDGEMENTS, ["q2"])

    assert [0, 0, 0, 1, pytest.approx(1 / 11)] == [
        quality.mean(measure)
        for measure in ("nDCG@10", "MRR@10", "recall@10", "recall@100", "MAP@100")
    ]


def test_an_empty_run_has_nothing() -> None:
    """And is no error."""
    assert 0 == judge({}, JUDGEMENTS, ["q1", "q2"]).mean("nDCG@10")
