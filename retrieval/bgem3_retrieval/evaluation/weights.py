"""Which weights a hybrid should have: chosen on one half of the queries, judged on the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import isclose
from typing import Final

import numpy as np

from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.block_scores import COMPONENTS
from bgem3_retrieval.evaluation.dataset import Dataset
from bgem3_retrieval.evaluation.measures import NDCG, Quality, judge
from bgem3_retrieval.evaluation.ranking import ScoredDataset
from bgem3_retrieval.evaluation.systems import System, Weights

FEWEST_QUERIES: Final = 20
"""With fewer nothing is searched: a half of them says nothing."""
_NDCG_DEPTH: Final = 10
# 21 points for two representations, 66 for three.
_STEPS: Final = {2: 20, 3: 10}


@dataclass(frozen=True)
class WeightPoint:
    """What some weights come to.

    Attributes:
        weights: Of dense, sparse and ColBERT; their sum is 1.
        tuning: nDCG@10 on the half that weights are chosen on.
        held_out: nDCG@10 on the other half.
    """

    weights: Weights
    tuning: float
    held_out: float


@dataclass(frozen=True)
class WeightSearch:
    """A search over all weights of a grid.

    Attributes:
        outputs: The representations that were weighed.
        points: All of the grid.
        best: The one that is best on the tuning half.
        given: What the weights come to that were there before.
        single: What the best single representation comes to, chosen on the tuning half too.
        tuning_queries: How many queries the weights were chosen on.
        held_out_queries: How many the others are.
        seed: Of the halves.
    """

    outputs: tuple[Output, ...]
    points: tuple[WeightPoint, ...]
    best: WeightPoint
    given: WeightPoint
    single: WeightPoint
    tuning_queries: int
    held_out_queries: int
    seed: int


def halves(queries: Sequence[str], seed: int) -> tuple[list[str], list[str]]:
    """Return two halves of the queries, drawn by a seed and not by their order."""
    order = np.random.default_rng(seed).permutation(sorted(queries)).tolist()
    middle = len(order) // 2
    return order[:middle], order[middle:]


def search_weights(
    dataset: Dataset, scored: ScoredDataset, given: System, seed: int = 0
) -> WeightSearch:
    """Try the weights of a grid for the representations of a hybrid.

    Args:
        dataset: With two queries at least.
        scored: Its candidates.
        given: The hybrid whose weights are compared with the best ones.
        seed: Of the halves.
    """
    tuning, held_out = halves([query.id for query in dataset.queries], seed)

    def point(weights: Weights) -> WeightPoint:
        quality = _quality(dataset, scored, weights)
        return WeightPoint(weights, quality.mean(NDCG, tuning), quality.mean(NDCG, held_out))

    points = [point(weights) for weights in weight_grid(given.outputs)]
    total = sum(given.weights)
    before = (given.weights[0] / total, given.weights[1] / total, given.weights[2] / total)
    return WeightSearch(
        tuple(output for output in COMPONENTS if output in given.outputs),
        tuple(points),
        _best(points),
        point(before),
        _best([point for point in points if max(point.weights) == 1]),
        len(tuning),
        len(held_out),
        seed,
    )


def weight_grid(outputs: frozenset[Output]) -> Iterator[Weights]:
    """Yield all weights of a grid that add up to 1; 0 for what is not in ``outputs``."""
    steps = _STEPS[len(outputs)]
    choices = [range(steps + 1) if output in outputs else range(1) for output in COMPONENTS]
    for dense, sparse, colbert in product(*choices):
        if dense + sparse + colbert == steps:
            yield dense / steps, sparse / steps, colbert / steps


def _quality(dataset: Dataset, scored: ScoredDataset, weights: Weights) -> Quality:
    outputs = frozenset(
        output for output, weight in zip(COMPONENTS, weights, strict=True) if weight
    )
    run = System("trial", outputs, "weighted", weights).run(dataset, scored, _NDCG_DEPTH)
    return judge(run, dataset.judgements, [query.id for query in dataset.queries], [NDCG])


def _best(points: Sequence[WeightPoint]) -> WeightPoint:
    """Return the best on the tuning half; of equal ones the one that is most even."""
    highest = max(point.tuning for point in points)
    equal = [point for point in points if isclose(point.tuning, highest, abs_tol=1e-12)]
    return min(equal, key=lambda point: max(point.weights))
