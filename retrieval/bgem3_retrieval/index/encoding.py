"""Chunks into points, a request's worth at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.index.items import Event, Pending, Piece, SplitItem
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.pooling import pool_tokens

if TYPE_CHECKING:
    from bgem3_client.embeddings import Embedding, Embeddings
    from bgem3_retrieval.index.client import IndexClient

# Eight of them keep a server busy, and are back in seconds from one that has no GPU. 4 MiB of
# token vectors of BGE-M3 in FP16.
_BATCH_TOKENS: Final = 2048
_BATCH_CHUNKS: Final = 64
# Events alone make a batch too, so that a person sees something move.
_BATCH_EVENTS: Final = 256


@dataclass
class Batch:
    """Chunks that are encoded at once, and what holds when they are written.

    Attributes:
        pieces: The chunks.
        events: In order; each of them after all chunks of this batch.
        tokens: Of the chunks.
    """

    pieces: list[Piece] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    tokens: int = 0

    def has_room_for(self, tokens: int) -> bool:
        """Whether one more chunk fits; one always does."""
        return not self.pieces or (
            len(self.pieces) < _BATCH_CHUNKS and self.tokens + tokens <= _BATCH_TOKENS
        )


@dataclass(frozen=True)
class EncodedBatch:
    """Points to write, each with its document, and what holds when they are written.

    Attributes:
        points: The chunks with their vectors.
        events: As in the batch.
        model_version: The version of the model that answered; None where it was not asked.
    """

    points: list[tuple[Pending, Point]]
    events: list[Event]
    model_version: str | None


def batches(items: Iterable[SplitItem]) -> Iterator[Batch]:
    """Yield all items in order, as many at a time as are encoded at once."""
    batch = Batch()
    for item in items:
        if isinstance(item, Piece):
            if not batch.has_room_for(item.chunk.tokens):
                yield batch
                batch = Batch()
            batch.pieces.append(item)
            batch.tokens += item.chunk.tokens
        else:
            batch.events.append(item)
            if len(batch.events) >= _BATCH_EVENTS:
                yield batch
                batch = Batch()
    if batch.pieces or batch.events:
        yield batch


class ChunkEncoder:
    """Encodes all representations that a collection keeps in one pass; threads may share it."""

    def __init__(self, client: IndexClient, spec: CollectionSpec, timeout_seconds: float) -> None:
        """Make one.

        Args:
            client: It stays the caller's.
            spec: The collection's.
            timeout_seconds: Time allowed for a batch, retries included.
        """
        self._client = client
        self._spec = spec
        self._timeout_seconds = timeout_seconds

    def encode(self, batch: Batch) -> EncodedBatch:
        """Return the points of a batch; a document whose text is refused has none in it.

        Raises:
            InvalidInputError: The server refuses the batch, and does not say which text it means.
            ServerError: The server failed, or could not be reached, each time.
        """
        pieces = [piece for piece in batch.pieces if piece.pending.refusal is None]
        while pieces:
            try:
                embeddings = self._embeddings([piece.chunk.text for piece in pieces])
            except InvalidInputError as error:
                if error.index is None:
                    raise
                refused = pieces[error.index].pending
                refused.refusal = str(error)
                # A refusal costs little: the server looks at all texts before it computes.
                pieces = [piece for piece in pieces if piece.pending is not refused]
            else:
                points = [
                    (piece.pending, self._point(piece, embedding))
                    for piece, embedding in zip(pieces, embeddings, strict=True)
                ]
                return EncodedBatch(points, batch.events, embeddings.model_version)
        return EncodedBatch([], batch.events, None)

    def _embeddings(self, texts: list[str]) -> Embeddings:
        spec = self._spec
        return self._client.encode(
            texts,
            {"dense", "sparse"} if spec.colbert == "none" else {"dense", "sparse", "colbert"},
            max_length=spec.max_tokens,
            # A chunk that were cut would be found by half of what it shows.
            truncate=False,
            colbert_dtype="float32" if spec.storage == "float32" else "float16",
            timeout_seconds=self._timeout_seconds,
        )

    def _point(self, piece: Piece, embedding: Embedding) -> Point:
        pending = piece.pending
        stored = StoredChunk(
            piece.chunk, pending.fingerprint, pending.chunk_count, pending.metadata
        )
        spec = self._spec
        if spec.colbert == "none":
            return Point(stored, embedding.dense, embedding.sparse)
        if spec.colbert == "full":
            return Point(stored, embedding.dense, embedding.sparse, embedding.colbert)
        # Of one of two types, which is the type of what comes out.
        rows: Any = embedding.colbert
        return Point(stored, embedding.dense, embedding.sparse, pool_tokens(rows, spec.pool_factor))
