"""A store in memory: exact, complete, and gone with the process."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Final
from uuid import UUID

import numpy as np

from bgem3_client import InvalidInputError, SparseEmbedding
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.errors import CollectionExistsError, CollectionNotFoundError, StoreError
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.query import (
    Candidate,
    Condition,
    Operator,
    QueryVectors,
    Representation,
    StoredSource,
)

_COMPARISONS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass
class _Collection:
    spec: CollectionSpec
    points: dict[UUID, Point] = field(default_factory=dict)


class MemoryStore:
    """Does what the interface says, in float32 whatever the storage, by looking at every point."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection] = {}
        self._lock = RLock()
        self.closed = False

    @property
    def address(self) -> str:
        """See :class:`bgem3_retrieval.stores.store.Store`, also for all that follow."""
        return "memory"

    def create(self, spec: CollectionSpec) -> None:
        with self._lock:
            if spec.name in self._collections:
                raise CollectionExistsError(f"memory has a collection {spec.name!r} already")
            self._collections[spec.name] = _Collection(spec)

    def spec(self, name: str) -> CollectionSpec:
        return self._collection(name).spec

    def names(self) -> list[str]:
        return sorted(self._collections)

    def drop(self, name: str) -> None:
        with self._lock:
            self._collection(name)
            del self._collections[name]

    def count(self, name: str) -> int:
        return len(self._collection(name).points)

    def sources(self, name: str) -> Iterator[StoredSource]:
        with self._lock:
            chunks = [point.stored for point in self._collection(name).points.values()]
        states = Counter((s.chunk.source, s.fingerprint, s.chunk_count) for s in chunks)
        for (source, fingerprint, chunk_count), points in sorted(states.items()):
            yield StoredSource(source, fingerprint, points, chunk_count)

    def put(self, name: str, points: Sequence[Point]) -> None:
        with self._lock:
            collection = self._collection(name)
            for point in points:
                _check_fits(point, collection.spec)
            collection.points |= {point.stored.id: point for point in points}

    def remove_source(self, name: str, source: str, *, keep_fingerprint: str | None = None) -> None:
        with self._lock:
            collection = self._collection(name)
            collection.points = {
                point_id: point
                for point_id, point in collection.points.items()
                if point.stored.chunk.source != source
                or point.stored.fingerprint == keep_fingerprint
            }

    def nearest(
        self, name: str, query: QueryVectors, limit: int, where: Sequence[Condition] = ()
    ) -> list[Candidate]:
        with self._lock:
            points = [
                (point_id, point)
                for point_id, point in self._collection(name).points.items()
                if all(_holds(condition, point.stored) for condition in where)
            ]
        found: dict[UUID, dict[Representation, float]] = {}
        best_ranks: dict[UUID, int] = {}
        representations: tuple[Representation, ...] = ("dense", "sparse")
        for representation in representations:
            scored = [
                (point_id, score)
                for point_id, point in points
                if (score := _scores(point, query).get(representation)) is not None
                # An index of lexical weights finds only what shares a token with the query.
                and (representation == "dense" or score > 0)
            ]
            scored.sort(key=lambda pair: (-pair[1], pair[0]))
            for rank, (point_id, score) in enumerate(scored[:limit]):
                found.setdefault(point_id, {})[representation] = score
                best_ranks[point_id] = min(rank, best_ranks.get(point_id, rank))
        stored = {point_id: point.stored for point_id, point in points}
        return [
            Candidate(point_id, stored[point_id], found[point_id])
            for point_id in sorted(found, key=lambda found_id: best_ranks[found_id])
        ]

    def scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> Mapping[UUID, Mapping[Representation, float]]:
        with self._lock:
            points = self._collection(name).points
            return {
                point_id: _scores(points[point_id], query) for point_id in ids if point_id in points
            }

    def lexical_weights(self, name: str, ids: Sequence[UUID]) -> Mapping[UUID, SparseEmbedding]:
        with self._lock:
            points = self._collection(name).points
            return {point_id: points[point_id].sparse for point_id in ids if point_id in points}

    def size_warning(self, name: str) -> str | None:
        return None

    def close(self) -> None:
        self.closed = True

    def reopened(self) -> MemoryStore:
        """Another one with the same collections, as a process after this one would have it."""
        store = type(self)()
        store._collections, store._lock = self._collections, self._lock
        return store

    def points(self, name: str) -> list[Point]:
        """All points, by source, fingerprint and position: not part of the interface."""
        with self._lock:
            points = list(self._collection(name).points.values())
        return sorted(
            points,
            key=lambda p: (p.stored.chunk.source, p.stored.fingerprint, p.stored.chunk.position),
        )

    def _collection(self, name: str) -> _Collection:
        if self.closed:
            raise StoreError("the store in memory is closed")
        with self._lock:
            if name not in self._collections:
                raise CollectionNotFoundError(f"memory has no collection {name!r}")
            return self._collections[name]


def _check_fits(point: Point, spec: CollectionSpec) -> None:
    """Refuse what a real store would: vectors of another size than the collection's."""
    fits = point.dense.shape == (spec.dense_size,) and (
        point.colbert is None
        if spec.colbert == "none"
        else point.colbert is not None and point.colbert.shape[1:] == (spec.colbert_size,)
    )
    if not fits:
        raise StoreError(f"a point of {point.stored.chunk.source} does not fit {spec}")


def _scores(point: Point, query: QueryVectors) -> dict[Representation, float]:
    scores: dict[Representation, float] = {}
    if query.dense is not None:
        scores["dense"] = float(point.dense @ query.dense)
    if query.sparse is not None:
        scores["sparse"] = _lexical(query.sparse, point.sparse)
    if query.colbert is not None and point.colbert is not None:
        products = query.colbert.astype(np.float32) @ point.colbert.astype(np.float32).T
        scores["colbert"] = float(products.max(axis=1).mean())
    return scores


def _lexical(query: SparseEmbedding, passage: SparseEmbedding) -> float:
    weights = passage.as_dict()
    return sum(weight * weights.get(token_id, 0.0) for token_id, weight in query.as_dict().items())


def _holds(condition: Condition, stored: StoredChunk) -> bool:
    value = _field(condition.field, stored)
    if condition.operator == "==":
        return value is not None and _same(value, condition.value)
    if condition.operator == "!=":
        return value is None or not _same(value, condition.value)
    if condition.operator == "in":
        if not isinstance(condition.value, tuple):
            raise InvalidInputError(f"'in' needs several values, not {condition.value!r}")
        return value is not None and any(_same(value, one) for one in condition.value)
    if isinstance(condition.value, str | bool | tuple):
        raise InvalidInputError(
            f"{condition.field} {condition.operator} {condition.value!r}: only numbers have "
            "an order"
        )
    if value is None or isinstance(value, str | bool):
        return False
    return _COMPARISONS[condition.operator](value, condition.value)


def _field(name: str, stored: StoredChunk) -> MetadataValue | None:
    chunk = stored.chunk
    own: dict[str, MetadataValue | None] = {
        "source": chunk.source,
        "title": chunk.title,
        "page": chunk.page,
    }
    return own[name] if name in own else stored.metadata.get(name)


def _same(value: MetadataValue, other: object) -> bool:
    # To Python True is 1.
    return isinstance(value, bool) == isinstance(other, bool) and value == other
