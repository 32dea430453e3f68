"""How good a run is, query by query, as ``trec_eval`` computes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

import ir_measures
import numpy as np
from ir_measures import AP, RR, Measure, Metric, P, R, nDCG
from numpy.typing import NDArray

from bgem3_retrieval.evaluation.dataset import Judgements
from bgem3_retrieval.evaluation.runs import Run

NDCG: Final = "nDCG@10"
RECALL: Final = "recall@10"
MRR: Final = "MRR@10"
FIRST: Final = "P@1"
FIRST_FIVE: Final = "P@5"

_MEASURES: Final = {
    NDCG: nDCG @ 10,
    RECALL: R @ 10,
    "recall@100": R @ 100,
    MRR: RR,
    "MAP@100": AP @ 100,
    FIRST: P @ 1,
    FIRST_FIVE: P @ 5,
}
_MRR_DEPTH: Final = 10
MEASURES: Final = tuple(_MEASURES)
"""What is measured, in the order of a table."""


@dataclass(frozen=True, eq=False)
class Quality:
    """A run, judged.

    Attributes:
        queries: The ids of Q queries.
        values: By measure: float64 [Q]; 0 for a query that the run has nothing of.
    """

    queries: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]

    def mean(self, measure: str, queries: Sequence[str] | None = None) -> float:
        """Return the mean over some queries (one at least), or over all."""
        values = self.values[measure]
        if queries is None:
            return float(values.mean())
        wanted = set(queries)
        return float(values[[query in wanted for query in self.queries]].mean())


def judge(
    run: Run,
    judgements: Judgements,
    queries: Sequence[str],
    measures: Sequence[str] = MEASURES,
) -> Quality:
    """Judge a run.

    Args:
        run: What was found.
        judgements: Of the queries; relevance 1 and more is relevant, and nDCG tells grades apart.
        queries: The ids of the queries to judge it by.
        measures: Some of :data:`MEASURES`.
    """
    places = {query: place for place, query in enumerate(queries)}
    names = {_MEASURES[name]: name for name in measures}
    values = {name: np.zeros(len(queries)) for name in measures}
    judged = {query: dict(judgements[query]) for query in queries}
    found = {query: dict(run[query]) for query in queries if run.get(query)}
    if found:
        for metric in _calculated(names, judged, found):
            values[names[metric.measure]][places[metric.query_id]] = metric.value
    return Quality(tuple(queries), values)


def _calculated(
    measures: Iterable[Measure],
    judged: dict[str, dict[str, int]],
    found: dict[str, dict[str, float]],
) -> Iterator[Metric]:
    wanted = list(measures)
    others = [measure for measure in wanted if measure != RR]
    if others:
        yield from ir_measures.pytrec_eval.iter_calc(others, judged, found)
    if RR in wanted:
        # trec_eval's has no depth, and pytrec_eval computes RR@10 as if it had none either.
        cut = {query: _first(documents, _MRR_DEPTH) for query, documents in found.items()}
        yield from ir_measures.pytrec_eval.iter_calc([RR], judged, cut)


def _first(documents: Mapping[str, float], count: int) -> dict[str, float]:
    """Return the best documents; of equal scores, as in trec_eval, the later name comes first."""
    best = nlargest(count, documents.items(), key=lambda item: (item[1], item[0]))
    return dict(best)
