"""What the embedded Qdrant and a server have in common: all requests but those of scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar
from uuid import UUID

from qdrant_client import models
from qdrant_client.client_base import QdrantBase
from qdrant_client.conversions import common_types as types

from bgem3_client.errors import InvalidInputError
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.fit import check_query_fits
from bgem3_retrieval.stores.nearest import merged
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.filters import of_source, to_filter
from bgem3_retrieval.stores.qdrant.points import from_sparse, to_nearest, to_sparse
from bgem3_retrieval.stores.qdrant.vectors import DENSE, SPARSE
from bgem3_retrieval.stores.query import (
    Candidate,
    Condition,
    QueryVectors,
    Representation,
    StoredSource,
)

Answer = TypeVar("Answer")

# Points whose names are read at once: 100 bytes each.
_SCROLL_POINTS: Final = 5000


class QdrantStore(ABC):
    """See :class:`bgem3_retrieval.stores.store.Store`."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it is."""

    @abstractmethod
    def create(self, spec: CollectionSpec) -> None:
        """Make an empty collection."""

    @abstractmethod
    def spec(self, name: str) -> CollectionSpec:
        """Return how a collection was made."""

    @abstractmethod
    def names(self) -> list[str]:
        """The collections that this project made, sorted."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove a collection and all that is in it."""

    @abstractmethod
    def put(self, name: str, points: Sequence[Point]) -> None:
        """Write points; they outlive a crash when this returns."""

    def size_warning(self, name: str) -> str | None:
        """Return what to tell a user of a collection that has outgrown this store, if it has."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of the store. Again: nothing."""

    @abstractmethod
    def _ask(self, name: str, request: Callable[[QdrantBase], Answer]) -> Answer:
        """Make a request about a collection; what Qdrant raises becomes this project's errors."""

    @abstractmethod
    def _known_spec(self, name: str) -> CollectionSpec:
        """Return how a collection was made, without asking more than once."""

    @abstractmethod
    def _scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> dict[UUID, dict[Representation, float]]:
        """Return the scores by the representations that the collection has."""

    def count(self, name: str) -> int:
        """How many points there are."""
        self._known_spec(name)
        return self._ask(name, lambda client: client.count(name, exact=True).count)

    def sources(self, name: str) -> Iterator[StoredSource]:
        """What is there: one for each document and state of it, sorted."""
        self._known_spec(name)
        states: Counter[tuple[str, str, int]] = Counter()
        offset: types.PointId | None = None
        while True:
            records, offset = self._scroll(name, offset)
            for record in records:
                payload = record.payload or {}
                state = (payload["source"], payload["fingerprint"], payload["chunk_count"])
                states[state] += 1
            if offset is None:
                break
        for (source, fingerprint, chunk_count), points in sorted(states.items()):
            yield StoredSource(source, fingerprint, points, chunk_count)

    def remove_source(self, name: str, source: str, *, keep_fingerprint: str | None = None) -> None:
        """Remove the points of a document, except for those of one state of it."""
        self._known_spec(name)
        selector = models.FilterSelector(filter=of_source(source, keep_fingerprint))
        self._ask(name, lambda client: client.delete(name, points_selector=selector, wait=True))

    def nearest(
        self, name: str, query: QueryVectors, limit: int, where: Sequence[Condition] = ()
    ) -> list[Candidate]:
        """Return the chunks nearest by the query's dense and sparse representations."""
        if limit < 1:
            raise InvalidInputError(f"a search finds 1 chunk or more, not {limit}")
        spec = self._known_spec(name)
        check_query_fits(spec, query)
        requests = _nearest_requests(spec, query, limit, to_filter(where))
        if not requests:
            return []
        answers = self._ask(
            name, lambda client: client.query_batch_points(name, list(requests.values()))
        )
        found = (to_nearest(answer.points) for answer in answers)
        return merged(dict(zip(requests, found, strict=True)))

    def scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> Mapping[UUID, Mapping[Representation, float]]:
        """Return the scores of some chunks by each representation that the query has."""
        check_query_fits(self._known_spec(name), query)
        return self._scores(name, query, ids) if ids else {}

    def lexical_weights(self, name: str, ids: Sequence[UUID]) -> dict[UUID, SparseEmbedding]:
        """Return the lexical weights of some chunks, as they were put."""
        self._known_spec(name)
        if not ids:
            return {}
        keys: list[types.PointId] = [str(one) for one in ids]
        records = self._ask(
            name,
            lambda client: client.retrieve(name, keys, with_payload=False, with_vectors=[SPARSE]),
        )
        return {UUID(str(record.id)): _lexical_weights(record) for record in records}

    def _scroll(
        self, name: str, offset: types.PointId | None
    ) -> tuple[list[models.Record], types.PointId | None]:
        return self._ask(
            name,
            lambda client: client.scroll(
                name,
                limit=_SCROLL_POINTS,
                offset=offset,
                with_payload=["source", "fingerprint", "chunk_count"],
                with_vectors=False,
            ),
        )


def _nearest_requests(
    spec: CollectionSpec, query: QueryVectors, limit: int, where: models.Filter | None
) -> dict[Representation, models.QueryRequest]:
    requests: dict[Representation, models.QueryRequest] = {}
    if query.dense is not None:
        rescore = models.QuantizationSearchParams(rescore=True) if spec.storage == "int8" else None
        requests["dense"] = models.QueryRequest(
            query=query.dense.tolist(),
            using=DENSE,
            filter=where,
            limit=limit,
            with_payload=True,
            params=models.SearchParams(quantization=rescore) if rescore else None,
        )
    # A query without any weights has no token in common with anything.
    if query.sparse is not None and len(query.sparse):
        requests["sparse"] = models.QueryRequest(
            query=to_sparse(query.sparse),
            using=SPARSE,
            filter=where,
            limit=limit,
            with_payload=True,
        )
    return requests


def _lexical_weights(record: models.Record) -> SparseEmbedding:
    vectors = record.vector
    found = vectors.get(SPARSE) if isinstance(vectors, dict) else None
    # A text without any weights may have no vector.
    empty = models.SparseVector(indices=[], values=[])
    return from_sparse(found if isinstance(found, models.SparseVector) else empty)
