"""Ways to rank: by one representation, or by several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_client.encode_request import Output
from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.evaluation.block_scores import COMPONENTS, Scores
from bgem3_retrieval.evaluation.dataset import Dataset
from bgem3_retrieval.evaluation.ranking import ScoredDataset
from bgem3_retrieval.evaluation.runs import Run
from bgem3_retrieval.search.fusion import ranks, reciprocal_ranks

Weights: TypeAlias = tuple[float, float, float]
"""Of dense, sparse and ColBERT."""

DEFAULT_WEIGHTS: Final[Weights] = (0.7, 0.3, 1.0)
"""As `bgem3 search` weighs them, and nearly as the BGE-M3 paper does."""

RUN_DEPTH: Final = 100
"""Documents that a run has of each query, at most."""


@dataclass(frozen=True)
class System:
    """A way to rank.

    Attributes:
        name: On the command line and in reports.
        outputs: The representations that it needs.
        fusion: ``weighted`` adds scores, each times its weight, as ``compute_score`` does;
            ``rrf`` adds 1 / (60 + rank) by dense and by sparse.
        weights: Of ``weighted``.
    """

    name: str
    outputs: frozenset[Output]
    fusion: Literal["weighted", "rrf"]
    weights: Weights = (0.0, 0.0, 0.0)

    @property
    def is_hybrid(self) -> bool:
        """Whether it takes more than one representation."""
        return len(self.outputs) > 1

    def scores(self, scores: Scores) -> NDArray[np.float64]:
        """Return one score for each candidate.

        Args:
            scores: float64 [c, 3], as in :class:`Candidates`.

        Returns:
            float64 [c]; minus infinity for what is not found: a document without a token in
            common with the query, by sparse weights alone.
        """
        if self.fusion == "rrf":
            sparse = np.where(scores[:, 1] > 0, scores[:, 1], -np.inf)
            return _reciprocal_ranks(scores[:, 0]) + _reciprocal_ranks(sparse)
        fused = weighted_scores(scores, self.weights)
        if self.outputs == {"sparse"}:
            return np.where(scores[:, 1] > 0, fused, -np.inf)
        return fused

    def run(self, dataset: Dataset, scored: ScoredDataset, depth: int = RUN_DEPTH) -> Run:
        """Return the best documents of each query."""
        ids = dataset.corpus.ids
        run = {}
        for query, candidates in zip(dataset.queries, scored.candidates, strict=True):
            scores = self.scores(candidates.scores)
            # Equal scores: the document that comes first in the corpus.
            best = np.argsort(-scores, kind="stable")[:depth]
            run[query.id] = {
                ids[candidates.rows[place]]: float(scores[place])
                for place in best
                if scores[place] > -np.inf
            }
        return run


def weighted_scores(scores: Scores, weights: Weights) -> NDArray[np.float64]:
    """Return the weighted mean of the scores [c, 3] whose weight is not 0; as ``compute_score``."""
    total = np.zeros(len(scores))
    for column, weight in enumerate(weights):
        # What has no weight may not be there: its scores are not numbers.
        if weight:
            total += weight * scores[:, column]
    return total / sum(weights)


def _reciprocal_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    found = [None if score == -np.inf else score for score in scores.tolist()]
    return np.array(reciprocal_ranks(ranks(found)))


def _system(name: str, weights: Weights) -> System:
    outputs = frozenset(
        output for output, weight in zip(COMPONENTS, weights, strict=True) if weight
    )
    return System(name, outputs, "weighted", weights)


_SYSTEMS: Final = {
    "dense": (1, 0, 0),
    "sparse": (0, 1, 0),
    "colbert": (0, 0, 1),
    "dense+sparse": (1, 1, 0),
    "rrf": (1, 1, 0),
    "dense+sparse+colbert": (1, 1, 1),
}
SYSTEM_NAMES: Final = tuple(_SYSTEMS)
NO_SYSTEMS: Final = "none"
"""On the command line: compare run files alone."""


def chosen_systems(names: Sequence[str], weights: Weights = DEFAULT_WEIGHTS) -> list[System]:
    """Return the systems of these names, in the order of :data:`SYSTEM_NAMES`.

    Args:
        names: Some of them.
        weights: What the hybrids weigh each representation by.

    Raises:
        InvalidInputError: There is no system of a name, or a hybrid's weights are not above 0.
    """
    if unknown := [name for name in names if name not in _SYSTEMS]:
        raise InvalidInputError(
            f"there is no system called {unknown[0]!r}: choose some of {', '.join(_SYSTEMS)}"
        )
    systems = []
    for name in SYSTEM_NAMES:
        if name not in names:
            continue
        parts = _SYSTEMS[name]
        # A single representation orders alike whatever its weight.
        own = [
            float(part) if sum(parts) == 1 else weight * part
            for weight, part in zip(weights, parts, strict=True)
        ]
        if any(part and not weight > 0 for weight, part in zip(own, parts, strict=True)):
            raise InvalidInputError(
                f"the weights of {name} must be above 0, and are {', '.join(map(str, weights))}"
            )
        system = _system(name, (own[0], own[1], own[2]))
        systems.append(replace(system, fusion="rrf") if name == "rrf" else system)
    return systems
