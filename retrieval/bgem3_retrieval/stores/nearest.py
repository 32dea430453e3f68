"""What each representation has found, as one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from bgem3_retrieval.stores.point import StoredChunk
from bgem3_retrieval.stores.query import Candidate, Representation


@dataclass(frozen=True)
class Nearest:
    """A chunk among the nearest by one representation.

    Attributes:
        id: The point's.
        stored: The chunk.
        score: By that representation.
    """

    id: UUID
    stored: StoredChunk
    score: float


def merged(found: Mapping[Representation, Sequence[Nearest]]) -> list[Candidate]:
    """Return each chunk once, with the score by all that found it, by its best rank.

    Args:
        found: By representation, the best first.
    """
    scores: dict[UUID, dict[Representation, float]] = {}
    best_ranks: dict[UUID, int] = {}
    chunks: dict[UUID, StoredChunk] = {}
    for representation, nearest in found.items():
        for rank, one in enumerate(nearest):
            chunks[one.id] = one.stored
            scores.setdefault(one.id, {})[representation] = one.score
            best_ranks[one.id] = min(rank, best_ranks.get(one.id, rank))
    return [
        Candidate(point_id, chunks[point_id], scores[point_id])
        for point_id in sorted(chunks, key=best_ranks.__getitem__)
    ]
