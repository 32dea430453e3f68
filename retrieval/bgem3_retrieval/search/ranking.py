"""Candidates and their scores into hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.search.fusion import (
    normalized,
    own_score,
    ranks,
    reciprocal_ranks,
    weighted_sums,
    with_colbert,
    without_zeros,
)
from bgem3_retrieval.search.plan import Plan
from bgem3_retrieval.search.result import Hit, Part
from bgem3_retrieval.stores.query import Candidate, Representation


@dataclass(frozen=True)
class Ranking:
    """Hits, without what is marked in them.

    Attributes:
        hits: The best first.
        reranked: How many candidates ColBERT ordered anew.
    """

    hits: list[Hit] = field(default_factory=list)
    reranked: int = 0


def rank(
    plan: Plan,
    query: SparseEmbedding,
    candidates: Sequence[Candidate],
    scores: Sequence[Mapping[Representation, float]],
) -> Ranking:
    """Order the candidates by one score, and those in front anew by another with ColBERT in it.

    Equal scores are in the order of source and position, so that the same question has the same
    answer.

    Args:
        plan: What takes part.
        query: The query's lexical weights.
        candidates: In any order.
        scores: Of each candidate, by the representations that the plan names.
    """
    options = plan.options
    columns = {name: [each.get(name) for each in scores] for name in plan.scored}
    places = {
        name: ranks(without_zeros(column) if name == "sparse" else column)
        for name, column in columns.items()
    }
    values = {name: _values(plan, query, name, columns[name], places[name]) for name in columns}

    def ordered(which: Sequence[int], fused: Sequence[float]) -> list[int]:
        return sorted(which, key=lambda at: (-fused[at], *_identity(candidates[at])))

    weights = options.weights
    fused = weighted_sums(values, weights)
    order = ordered(range(len(candidates)), fused)
    reranked = 0
    if plan.reranks:
        order = order[: options.rerank_candidates]
        reranked = len(order)
        weights = with_colbert(weights, options.colbert_weight)
        fused = weighted_sums(values, weights)
        order = ordered(order, fused)
    if options.min_score is not None:
        order = [at for at in order if fused[at] >= options.min_score]
    hits = [
        Hit(
            rank=number,
            score=fused[at],
            scores=scores[at],
            ranks={name: place for name in places if (place := places[name][at]) is not None},
            id=candidates[at].id,
            stored=candidates[at].stored,
            marks=(),
            parts={name: Part(values[name][at], weight) for name, weight in weights.items()},
        )
        for number, at in enumerate(order[: options.limit], start=1)
    ]
    return Ranking(hits, reranked)


def _values(
    plan: Plan,
    query: SparseEmbedding,
    name: Representation,
    scores: Sequence[float | None],
    places: Sequence[int | None],
) -> list[float]:
    """Return what is weighted and added up of a representation."""
    options = plan.options
    if options.mode == "hybrid" and options.fusion == "rrf":
        return reciprocal_ranks(places, options.depth if name in options.finds_by else None)
    # Where nothing is added to a score, it stays as it is.
    alone = options.mode != "hybrid" and not plan.reranks
    own = own_score(query) if name == "sparse" else None
    return normalized(scores, "none" if alone else options.normalization, own)


def _identity(candidate: Candidate) -> tuple[str, int, str]:
    chunk = candidate.stored.chunk
    return (chunk.source, chunk.position, str(candidate.id))
