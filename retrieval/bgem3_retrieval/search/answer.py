"""A search's answer as JSON: what ``bgem3 search --json`` prints. Fields may be added to it."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field

from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.search.options import Fusion, Mode
from bgem3_retrieval.search.result import Hit, SearchResult
from bgem3_retrieval.stores.query import Representation


class MarkAnswer(BaseModel):
    """A matched place in the hit's text."""

    begin: int = Field(description="Where it begins, in characters of the hit's `text`.")
    end: int = Field(description="Where it ends.")
    weight: float = Field(description="What its tokens contribute to the sparse score.")


class PartAnswer(BaseModel):
    """What one representation gives to a hit's score: `value` times `weight`."""

    value: float = Field(description="The score, normalised, or `1 / (60 + rank)`.")
    weight: float


class TokenAnswer(BaseModel):
    """A token that query and hit share."""

    text: str
    contribution: float = Field(description="To the sparse score, which is the sum of them.")


class ExplanationAnswer(BaseModel):
    """Why a hit has its score."""

    parts: dict[Representation, PartAnswer]
    tokens: list[TokenAnswer]


class HitAnswer(BaseModel):
    """A chunk that answers the query."""

    rank: int = Field(description="From 1.")
    score: float = Field(description="What hits are ordered by.")
    scores: dict[Representation, float] = Field(
        description="By each representation that was looked at, as FlagEmbedding defines them."
    )
    ranks: dict[Representation, int] = Field(description="Among the candidates, from 1.")
    id: str = Field(description="The chunk's in the store.")
    source: str
    title: str
    page: int | None = Field(description="From 1; null where the format has no pages.")
    headings: list[str] = Field(description="That the chunk stands under, outermost first.")
    position: int = Field(description="Its number among the document's chunks, from 0.")
    begin: int = Field(description="Where it begins in the document's text, in characters.")
    end: int = Field(description="Where it ends there.")
    text: str
    metadata: dict[str, MetadataValue] = Field(description="The document's.")
    marks: list[MarkAnswer] = Field(description="The matched words, in order.")
    explanation: ExplanationAnswer | None = Field(None, description="With `explain`; else null.")

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Return a hit as JSON has it."""
        chunk = hit.stored.chunk
        explanation = None
        if hit.tokens is not None:
            explanation = ExplanationAnswer(
                parts={
                    name: PartAnswer(value=part.value, weight=part.weight)
                    for name, part in hit.parts.items()
                },
                tokens=[
                    TokenAnswer(text=token.text, contribution=token.contribution)
                    for token in hit.tokens
                ],
            )
        return cls(
            rank=hit.rank,
            score=hit.score,
            scores=dict(hit.scores),
            ranks=dict(hit.ranks),
            id=str(hit.id),
            source=chunk.source,
            title=chunk.title,
            page=chunk.page,
            headings=list(chunk.headings),
            position=chunk.position,
            begin=chunk.begin,
            end=chunk.end,
            text=chunk.text,
            metadata=dict(hit.stored.metadata),
            marks=[
                MarkAnswer(begin=mark.begin, end=mark.end, weight=mark.weight) for mark in hit.marks
            ],
            explanation=explanation,
        )


class MillisecondsAnswer(BaseModel):
    """How long each stage took."""

    encode: float = Field(description="The query, by the server.")
    candidates: float = Field(description="The nearest chunks, by the store.")
    scores: float = Field(description="The other scores of the candidates, by the store.")
    fuse: float = Field(description="One score of several, and the matched words.")
    total: float = Field(description="All of it, with what lies between.")


class SearchAnswer(BaseModel):
    """The answer to one query."""

    query: str
    collection: str
    mode: Mode
    fusion: Fusion = Field(description="Of the mode `hybrid`.")
    candidates: int = Field(description="How many chunks dense and sparse brought together.")
    reranked: int = Field(description="How many of them ColBERT ordered anew; 0 for none.")
    hits: list[HitAnswer] = Field(description="The best first.")
    milliseconds: MillisecondsAnswer

    @classmethod
    def of(cls, result: SearchResult) -> Self:
        """Return a result as JSON has it."""
        timings = result.timings
        return cls(
            query=result.query,
            collection=result.collection,
            mode=result.options.mode,
            fusion=result.options.fusion,
            candidates=result.candidates,
            reranked=result.reranked,
            hits=[HitAnswer.of(hit) for hit in result.hits],
            milliseconds=MillisecondsAnswer(
                encode=_milliseconds(timings.encode_seconds),
                candidates=_milliseconds(timings.candidates_seconds),
                scores=_milliseconds(timings.scores_seconds),
                fuse=_milliseconds(timings.fuse_seconds),
                total=_milliseconds(timings.total_seconds),
            ),
        )


def _milliseconds(seconds: float) -> float:
    # More digits would be noise.
    return round(seconds * 1e3, 3)
