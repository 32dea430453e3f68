"""What a search answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from bgem3_retrieval.search.marks import Mark
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.stores.point import StoredChunk
from bgem3_retrieval.stores.query import Representation


@dataclass(frozen=True)
class Part:
    """What one representation gives to a hit's score, which is the sum of its parts.

    Attributes:
        value: The score, normalised; in reciprocal rank fusion ``1 / (60 + rank)``, or 0.
        weight: Its share.
    """

    value: float
    weight: float

    @property
    def amount(self) -> float:
        """What is added to the hit's score."""
        return self.value * self.weight


@dataclass(frozen=True)
class TokenContribution:
    """A token that query and chunk share.

    Attributes:
        text: What it stands for.
        contribution: The product of its two weights; a chunk's sparse score is the sum of them.
    """

    text: str
    contribution: float


@dataclass(frozen=True)
class Hit:
    """A chunk that answers the query.

    Attributes:
        rank: From 1.
        score: What hits are ordered by; the larger the better.
        scores: By each representation that was looked at, as FlagEmbedding defines them.
        ranks: Among the candidates by each of these, from 1; equal scores share a rank, and there
            is no sparse rank where no token is shared.
        id: The point's in the store.
        stored: The chunk, its document's metadata, and what else the store keeps.
        marks: The matched words in the chunk's text, in order.
        parts: What each representation gives to the score.
        tokens: With ``explain``: the shared tokens, the weightiest first; otherwise None.
    """

    rank: int
    score: float
    scores: Mapping[Representation, float]
    ranks: Mapping[Representation, int]
    id: UUID
    stored: StoredChunk
    marks: tuple[Mark, ...]
    parts: Mapping[Representation, Part]
    tokens: tuple[TokenContribution, ...] | None = None


@dataclass(frozen=True)
class Timings:
    """How long each stage took.

    Attributes:
        encode_seconds: The server encoded the query; of several at once an equal share.
        candidates_seconds: The store looked for the nearest chunks.
        scores_seconds: The store computed the other scores of the candidates.
        fuse_seconds: Scores became one, hits were ordered, and words marked, which is one more
            question to the store.
        total_seconds: All of it, with what lies between.
    """

    encode_seconds: float
    candidates_seconds: float
    scores_seconds: float
    fuse_seconds: float
    total_seconds: float


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query.

    Attributes:
        query: As it was asked.
        collection: Where it was looked for.
        hits: The best first.
        candidates: How many chunks dense and sparse brought together.
        reranked: How many of them ColBERT ordered anew; 0 where it did not take part.
        options: How it was looked for.
        timings: How long each stage took.
    """

    query: str
    collection: str
    hits: tuple[Hit, ...]
    candidates: int
    reranked: int
    options: SearchOptions
    timings: Timings
