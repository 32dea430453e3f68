"""A Qdrant server or cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from uuid import UUID

import numpy as np
from qdrant_client import models
from qdrant_client.client_base import QdrantBase

from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.errors import CollectionExistsError, CollectionNotFoundError, StoreError
from bgem3_retrieval.stores.collection import CollectionSpec, checked_name
from bgem3_retrieval.stores.fit import check_points_fit
from bgem3_retrieval.stores.kept_spec import made_by_this_project, read_spec
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.connection import ServerConnection
from bgem3_retrieval.stores.qdrant.failures import FAILURES, Failure, explain
from bgem3_retrieval.stores.qdrant.filters import of_ids
from bgem3_retrieval.stores.qdrant.indexes import missing_indexes
from bgem3_retrieval.stores.qdrant.points import to_sparse, to_struct
from bgem3_retrieval.stores.qdrant.server_url import ServerUrl
from bgem3_retrieval.stores.qdrant.store import Answer, QdrantStore
from bgem3_retrieval.stores.qdrant.vectors import (
    COLBERT,
    DENSE,
    SPARSE,
    sparse_config,
    vectors_config,
)
from bgem3_retrieval.stores.query import QueryVectors, Representation

# A collection's metadata, where the spec is, came with this version.
_OLDEST: Final = (1, 16)
_METADATA_KEY: Final = "bgem3"
# Qdrant takes 32 MB in an HTTP request; a number is 22 characters in JSON at most, 4 bytes in
# gRPC.
_REQUEST_NUMBERS: Final = {False: 24_000_000 // 22, True: 24_000_000 // 4}
_EXACT: Final = models.SearchParams(exact=True)

LONG_RUN: Final = RetryPolicy(attempts=20, initial_backoff_seconds=0.1, max_backoff_seconds=5.0)
"""Waits about a minute for a server: one that crashed is back by then."""


class QdrantServer(QdrantStore):
    """Collections on a server: it is asked by gRPC where its port is open, by HTTP elsewhere.

    A request that fails for a moment is made again: all of them can be made twice. Before the
    server has answered once, a failure is reported at once.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: int = 60,
        retries: RetryPolicy = RetryPolicy(attempts=5, initial_backoff_seconds=0.5),  # noqa: B008
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Take down where the server is; the first request connects.

        Args:
            url: ``http(s)://HOST[:6333][/PREFIX][?grpc_port=6334]``; with ``grpc_port=0`` gRPC is
                not used.
            api_key: Sent with every request.
            timeout_seconds: Of a request.
            retries: When a request is made again.
            say: Told when the server is waited for, and when it is back.

        Raises:
            InvalidInputError: It is no such URL.
        """
        self._connection = ServerConnection(
            ServerUrl.parse(url), api_key, timeout_seconds, retries, say
        )
        self._specs: dict[str, CollectionSpec] = {}
        self._indexed: dict[str, set[str]] = {}

    @property
    def address(self) -> str:
        """The URL."""
        return self._connection.address

    def create(self, spec: CollectionSpec) -> None:
        """See the base class.

        Raises:
            CollectionExistsError: There is one of that name.
        """
        name = spec.name
        self._check_version()
        exists = CollectionExistsError(f"{self.address} has a collection {name} already")
        if self._ask(name, lambda client: client.collection_exists(name)):
            raise exists
        try:
            # One request makes the collection and says what it is: none is ever half made. It is
            # not repeated, for the second one would find the first one's collection.
            self._connection.ask_once(
                lambda client: client.create_collection(
                    name,
                    vectors_config=vectors_config(spec),
                    sparse_vectors_config=sparse_config(),
                    on_disk_payload=True,
                    metadata={_METADATA_KEY: spec.model_dump()},
                )
            )
        except FAILURES as error:
            failure = explain(error)
            if not failure.transient and self._ask(name, lambda c: c.collection_exists(name)):
                raise exists from error
            raise self._error(failure, name) from error
        self._forget(name)

    def spec(self, name: str) -> CollectionSpec:
        """See the base class."""
        checked_name(name)
        info = self._ask(name, lambda client: client.get_collection(name))
        kept = (info.config.metadata or {}).get(_METADATA_KEY)
        spec = read_spec(name, self.address, kept)
        self._specs[name] = spec
        self._indexed[name] = set(info.payload_schema or {})
        return spec

    def names(self) -> list[str]:
        """See the base class."""
        found = self._ask("", lambda client: client.get_collections().collections)
        return made_by_this_project(self, (one.name for one in found))

    def drop(self, name: str) -> None:
        """See the base class."""
        self.spec(name)
        self._ask(name, lambda client: client.delete_collection(name))
        self._forget(name)

    def put(self, name: str, points: Sequence[Point]) -> None:
        """See the base class."""
        spec = self._known_spec(name)
        check_points_fit(spec, points)
        self._make_indexes(name, points)
        for batch in self._batches(spec, points):
            self._upsert(name, [to_struct(point, np.ndarray.tolist) for point in batch])

    def close(self) -> None:
        """See the base class."""
        self._connection.close()

    def _scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> dict[UUID, dict[Representation, float]]:
        requests = _score_requests(self._known_spec(name), query, ids)
        answers = self._ask(
            name, lambda client: client.query_batch_points(name, list(requests.values()))
        )
        found = {
            representation: {UUID(str(hit.id)): hit.score for hit in answer.points}
            for representation, answer in zip(requests, answers, strict=True)
        }
        scores: dict[UUID, dict[Representation, float]] = {one: {} for one in found.pop("", {})}
        for one, score in found.get("dense", {}).items():
            scores.setdefault(one, {})["dense"] = score
        for one, own in scores.items():
            if query.sparse is not None:
                own["sparse"] = found.get("sparse", {}).get(one, 0.0)
            if "colbert" in found and query.colbert is not None:
                # Qdrant adds the best products of a query's tokens; FlagEmbedding takes their mean.
                own["colbert"] = found["colbert"][one] / len(query.colbert)
        return scores

    def _known_spec(self, name: str) -> CollectionSpec:
        known = self._specs.get(name)
        return self.spec(name) if known is None else known

    def _ask(self, name: str, request: Callable[[QdrantBase], Answer]) -> Answer:
        try:
            return self._connection.ask(request)
        except FAILURES as error:
            raise self._error(explain(error), name) from error

    def _error(self, failure: Failure, name: str) -> Exception:
        if failure.not_found and name:
            self._forget(name)
            return CollectionNotFoundError(f"{self.address} has no collection {name}")
        return StoreError(f"Qdrant at {self.address}: {failure.reason}")

    def _check_version(self) -> None:
        version = self._ask("", lambda client: client.info().version)
        numbers = version.split(".")
        if len(numbers) < 2 or not all(number.isdecimal() for number in numbers[:2]):
            return  # a development build
        if (int(numbers[0]), int(numbers[1])) < _OLDEST:
            raise StoreError(
                f"Qdrant at {self.address} is version {version}: {_OLDEST[0]}.{_OLDEST[1]} or "
                "later is needed, which keeps with a collection how it was made"
            )

    def _make_indexes(self, name: str, points: Sequence[Point]) -> None:
        indexed = self._indexed.setdefault(name, set())
        for path, kind in missing_indexes(points, indexed).items():
            self._index(name, path, kind)
            indexed.add(path)

    def _index(self, name: str, path: str, kind: models.PayloadSchemaType) -> None:
        self._ask(name, lambda client: client.create_payload_index(name, path, kind, wait=True))

    def _upsert(self, name: str, structs: list[models.PointStruct]) -> None:
        self._ask(name, lambda client: client.upsert(name, structs, wait=True))

    def _batches(self, spec: CollectionSpec, points: Sequence[Point]) -> Iterator[list[Point]]:
        most = _REQUEST_NUMBERS[self._connection.uses_grpc]
        batch: list[Point] = []
        numbers = 0
        for point in points:
            size = spec.dense_size + (0 if point.colbert is None else point.colbert.size)
            if batch and numbers + size > most:
                yield batch
                batch, numbers = [], 0
            batch.append(point)
            numbers += size
        if batch:
            yield batch

    def _forget(self, name: str) -> None:
        self._specs.pop(name, None)
        self._indexed.pop(name, None)


def _score_requests(
    spec: CollectionSpec, query: QueryVectors, ids: Sequence[UUID]
) -> dict[Representation | str, models.QueryRequest]:
    """Return a request for each representation, and one without where none shows what is there."""
    queries: dict[Representation | str, list[float] | list[list[float]] | models.SparseVector] = {}
    if query.dense is not None:
        queries[DENSE] = query.dense.tolist()
    if query.sparse is not None and len(query.sparse):
        queries[SPARSE] = to_sparse(query.sparse)
    if query.colbert is not None and spec.colbert != "none":
        queries[COLBERT] = query.colbert.tolist()
    requests = {
        name: models.QueryRequest(
            query=vectors,
            using=name,
            filter=of_ids(ids),
            limit=len(ids),
            with_payload=False,
            params=None if name == SPARSE else _EXACT,
        )
        for name, vectors in queries.items()
    }
    if DENSE not in requests:
        requests[""] = models.QueryRequest(filter=of_ids(ids), limit=len(ids), with_payload=False)
    return requests
