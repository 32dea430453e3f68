"""Several scores of a chunk into one.

``weighted`` is the sum of each representation's score times its weight, as FlagEmbedding's
``compute_score`` has it. Its scores are not on one scale: dense and ColBERT scores are cosines,
0.63 and 0.78 for the right passage of FlagEmbedding's first example and 0.35 for the wrong one by
dense; a lexical score is a sum of products of weights, there 0.2 and 0. So what the weights mean
depends on what is done to the scores first:

``none`` (the default): nothing. The weights that BGE-M3's authors found best belong to these plain
sums (1 : 0.3 on MIRACL, which 0.7 : 0.3 is near). A score does not depend on what else was found,
which has three consequences: what does not matter stays small (a passage that shares a question
mark with the query gets next to nothing for it, and where dense tells no passages apart the words
decide); looking at more candidates never swaps two of them; and a ``min_score`` is worth the same
in every query.

``query``: lexical scores are divided by the query's with itself, so that 1 is what a passage of the
query's own words and weights would have, and long queries have no larger scores than short ones.
This too depends on nothing else that was found. Words count several times as much as with
``none`` (five times in that example): for part numbers, names and long documents.

``minmax``: each representation's scores are stretched over the candidates to 0 (the worst) to 1
(the best), as many search engines do. A weight then is a share of the order. But the best candidate
gets 1 however bad it is: noise is blown up where a representation has nothing to say, and what else
was found decides.

``rrf``, reciprocal rank fusion, looks at ranks alone: the sum of ``1 / (60 + rank)`` over the
representations that found the chunk (Cormack, Clarke and Büttcher, SIGIR 2009). It needs no
normalisation, and does not know by how much a chunk is better than the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.search.options import Normalization
from bgem3_retrieval.stores.query import Representation

RRF_K: Final = 60

Scores: TypeAlias = Sequence[float | None]
"""Of all candidates by one representation; None where it has none."""


def ranks(scores: Scores) -> list[int | None]:
    """Return the place of each score among all, from 1; equal scores share the better place."""
    present = [score for score in scores if score is not None]
    place: dict[float, int] = {}
    for number, score in enumerate(sorted(present, reverse=True), start=1):
        place.setdefault(score, number)
    return [None if score is None else place[score] for score in scores]


def without_zeros(scores: Scores) -> list[float | None]:
    """Return the lexical scores of those that share a token with the query."""
    return [score or None for score in scores]


def own_score(query: SparseEmbedding) -> float:
    """Return the lexical score of a query with itself."""
    return float(np.square(query.values, dtype=np.float64).sum())


def normalized(
    scores: Scores, normalization: Normalization, own: float | None = None
) -> list[float]:
    """Return the scores as ``weighted`` adds them up; 0 where there is none.

    Args:
        scores: Of all candidates by one representation.
        normalization: See the module.
        own: The query's score with itself, of lexical scores; None of others.
    """
    present = [score for score in scores if score is not None]
    if normalization == "minmax" and present:
        lowest, highest = min(present), max(present)
        # All alike: nobody is better, and nobody is the worst.
        spread = highest - lowest or 1.0
        return [0.0 if score is None else (score - lowest) / spread for score in scores]
    # A query without weights shares none: its scores are 0 as they are.
    divisor = own if normalization == "query" and own else 1.0
    return [0.0 if score is None else score / divisor for score in scores]


def reciprocal_ranks(places: Sequence[int | None], depth: int | None = None) -> list[float]:
    """Return ``1 / (60 + rank)``, and 0 for a chunk that the representation did not find.

    Args:
        places: The ranks among all candidates.
        depth: A representation that brings so many candidates found no others; None for one that
            brings none, and orders those of the others.
    """
    return [
        0.0 if place is None or (depth is not None and place > depth) else 1.0 / (RRF_K + place)
        for place in places
    ]


def weighted_sums(
    values: Mapping[Representation, Sequence[float]], weights: Mapping[Representation, float]
) -> list[float]:
    """Return the sum for each candidate, of the representations that have a weight."""
    columns = [[weight * value for value in values[name]] for name, weight in weights.items()]
    return [sum(row) for row in zip(*columns, strict=True)]


def with_colbert(
    weights: Mapping[Representation, float], share: float
) -> dict[Representation, float]:
    """Return weights of the same sum in which ColBERT has a share.

    Args:
        weights: Without ColBERT.
        share: Of ColBERT, 0 to 1.
    """
    shared: dict[Representation, float] = {"colbert": sum(weights.values()) * share}
    return {name: weight * (1 - share) for name, weight in weights.items()} | shared
