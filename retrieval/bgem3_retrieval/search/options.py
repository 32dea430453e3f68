"""How to search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.stores.query import Condition, Representation

Mode: TypeAlias = Literal["hybrid", "dense", "sparse", "colbert"]
Fusion: TypeAlias = Literal["weighted", "rrf"]
Normalization: TypeAlias = Literal["none", "query", "minmax"]

MAX_CANDIDATES: Final = 10_000
_DEFAULT_CANDIDATES: Final = 50


@dataclass(frozen=True)
class SearchOptions:
    """What to look for, by what, and how the scores become one.

    Attributes:
        limit: Hits at most.
        candidates: Chunks that each of dense and sparse brings; None for 50, or ``limit`` where
            that is more.
        mode: By what chunks are found and ordered. ``colbert`` finds candidates as ``hybrid``
            does, and orders them by MaxSim alone.
        fusion: How ``hybrid`` makes one score of dense and sparse.
        normalization: What ``weighted`` does to the scores first; see
            :mod:`bgem3_retrieval.search.fusion`.
        dense_weight: In ``weighted``; only the proportion to ``sparse_weight`` matters.
        sparse_weight: In ``weighted``.
        rerank: Whether ColBERT orders the best candidates anew; None for yes in ``hybrid`` where
            the collection keeps ColBERT vectors, and no otherwise.
        rerank_candidates: How many of the best are re-ranked; None for all candidates.
        colbert_weight: The share of ColBERT in the score of what is re-ranked, 0 to 1; 1 orders
            by ColBERT alone.
        where: Conditions that all must hold of a chunk.
        min_score: Hits below it are left out.
        explain: Ask the store for every representation's score, and say what each token that a
            hit shares with the query contributes.
    """

    limit: int = 10
    candidates: int | None = None
    mode: Mode = "hybrid"
    fusion: Fusion = "weighted"
    normalization: Normalization = "none"
    dense_weight: float = 0.7
    sparse_weight: float = 0.3
    rerank: bool | None = None
    rerank_candidates: int | None = None
    colbert_weight: float = 0.5
    where: tuple[Condition, ...] = ()
    min_score: float | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInputError: One is out of its range, or two do not go together.
        """
        _check_choice("mode", self.mode, get_args(Mode))
        _check_choice("fusion", self.fusion, get_args(Fusion))
        _check_choice("normalization", self.normalization, get_args(Normalization))
        _check_count("limit", self.limit, 1)
        if self.candidates is not None:
            _check_count("candidates", self.candidates, self.limit, " (the limit)")
        if self.rerank_candidates is not None:
            _check_count("rerank_candidates", self.rerank_candidates, self.limit, " (the limit)")
        for name in ("dense_weight", "sparse_weight"):
            _check_number(name, getattr(self, name), 0, math.inf)
        if not self.dense_weight + self.sparse_weight > 0:
            raise InvalidInputError("dense_weight and sparse_weight are both 0: one must count")
        _check_number("colbert_weight", self.colbert_weight, 0, 1)
        if self.min_score is not None:
            _check_number("min_score", self.min_score, -math.inf, math.inf)
        if self.mode == "colbert" and self.rerank is False:
            raise InvalidInputError("mode 'colbert' orders by ColBERT: rerank cannot be False")

    @property
    def depth(self) -> int:
        """How many candidates each of dense and sparse brings."""
        return self.candidates or max(self.limit, _DEFAULT_CANDIDATES)

    @property
    def finds_by(self) -> tuple[Representation, ...]:
        """The representations that bring candidates."""
        if self.mode == "dense":
            return ("dense",)
        if self.mode == "sparse":
            return ("sparse",)
        return ("dense", "sparse")

    @property
    def weights(self) -> dict[Representation, float]:
        """What each representation's part of the score is multiplied by before re-ranking.

        They sum up to 1; in reciprocal rank fusion, which knows no weights, each is 1.
        """
        if self.mode != "hybrid":
            return {self.mode: 1.0}
        if self.fusion == "rrf":
            return {"dense": 1.0, "sparse": 1.0}
        total = self.dense_weight + self.sparse_weight
        return {"dense": self.dense_weight / total, "sparse": self.sparse_weight / total}


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInputError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


def _check_count(name: str, value: object, least: int, what: str = "") -> None:
    # To Python True is 1.
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{name} is {value!r}; it must be an integer")
    if not least <= value <= MAX_CANDIDATES:
        raise InvalidInputError(
            f"{name} is {value}; it must be from {least}{what} to {MAX_CANDIDATES:,}"
        )


def _check_number(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInputError(f"{name} is {value!r}; it must be a finite number")
    if not least <= value <= most:
        bounds = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
        raise InvalidInputError(f"{name} is {value:g}; it must be {bounds}")
