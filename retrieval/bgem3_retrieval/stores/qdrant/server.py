"""A Qdrant server or cluster."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit
from uuid import UUID

import numpy as np
import pydantic
from qdrant_client import QdrantClient, models
from qdrant_client.client_base import QdrantBase

from bgem3_client.errors import InvalidInputError
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ForeignCollectionError,
    StoreError,
)
from bgem3_retrieval.stores.collection import CollectionSpec, checked_name
from bgem3_retrieval.stores.fit import check_points_fit
from bgem3_retrieval.stores.payload import to_payload
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.failures import FAILURES, Failure, explain
from bgem3_retrieval.stores.qdrant.filters import of_ids
from bgem3_retrieval.stores.qdrant.indexes import missing_indexes
from bgem3_retrieval.stores.qdrant.store import Answer, QdrantStore, to_sparse
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
_PORT: Final = 6333
_GRPC_PORT: Final = 6334
_PROBE_SECONDS: Final = 2.0
# Qdrant takes 32 MB in an HTTP request; a number is 22 characters in JSON at most, 4 bytes in
# gRPC.
_REQUEST_NUMBERS: Final = {False: 24_000_000 // 22, True: 24_000_000 // 4}
_EXACT: Final = models.SearchParams(exact=True)


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
    ) -> None:
        """Take down where the server is; the first request connects.

        Args:
            url: ``http(s)://HOST[:6333][/PREFIX][?grpc_port=6334]``; with ``grpc_port=0`` gRPC is
                not used.
            api_key: Sent with every request.
            timeout_seconds: Of a request.
            retries: When a request is made again.

        Raises:
            InvalidInputError: It is no such URL.
        """
        parts = _split(url)
        self._url = f"{parts.scheme}://{_host(parts)}:{parts.port or _PORT}{parts.path}"
        self._host = parts.hostname or ""
        self._grpc_port = _grpc_port(parts)
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._guard = threading.Lock()
        self._connected: QdrantClient | None = None
        self._uses_grpc = False
        self._answered = False
        self._closed = False
        self._specs: dict[str, CollectionSpec] = {}
        self._indexed: dict[str, set[str]] = {}

    @property
    def address(self) -> str:
        """The URL."""
        return self._url

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
            self._client().create_collection(
                name,
                vectors_config=vectors_config(spec),
                sparse_vectors_config=sparse_config(),
                on_disk_payload=True,
                metadata={_METADATA_KEY: spec.model_dump()},
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
        found = (info.config.metadata or {}).get(_METADATA_KEY)
        if found is None:
            raise ForeignCollectionError(
                f"the collection {name} at {self.address} was not made by this project, and is "
                "left alone: choose another name"
            )
        try:
            spec = CollectionSpec.model_validate(found)
        except pydantic.ValidationError as error:
            raise StoreError(
                f"the collection {name} at {self.address} was made by a later version: {error}"
            ) from error
        self._specs[name] = spec
        self._indexed[name] = set(info.payload_schema or {})
        return spec

    def names(self) -> list[str]:
        """See the base class."""
        found = self._ask("", lambda client: client.get_collections().collections)
        return sorted(one.name for one in found if self._is_ours(one.name))

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
            self._upsert(name, [_to_struct(point) for point in batch])

    def close(self) -> None:
        """See the base class."""
        with self._guard:
            self._closed = True
            client, self._connected = self._connected, None
        if client is not None:
            client.close()

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
        for attempt in count(1):
            try:
                answer = request(self._client())
            except FAILURES as error:
                failure = explain(error)
                again = failure.transient and self._answered and attempt < self._retries.attempts
                if not again:
                    raise self._error(failure, name) from error
                time.sleep(self._retries.backoff_seconds(attempt) + failure.retry_after_seconds)
            else:
                self._answered = True
                return answer
        raise AssertionError("unreachable")

    def _error(self, failure: Failure, name: str) -> Exception:
        if failure.not_found and name:
            self._forget(name)
            return CollectionNotFoundError(f"{self.address} has no collection {name}")
        return StoreError(f"Qdrant at {self.address}: {failure.reason}")

    def _client(self) -> QdrantClient:
        with self._guard:
            if self._closed:
                raise StoreError(f"the store {self.address} is closed")
            if self._connected is None:
                self._uses_grpc = self._has_grpc()
                self._connected = QdrantClient(
                    url=self._url,
                    grpc_port=self._grpc_port or _GRPC_PORT,
                    prefer_grpc=self._uses_grpc,
                    api_key=self._api_key,
                    timeout=self._timeout_seconds,
                    # Checked by `_check_version`, with an error and not a warning.
                    check_compatibility=False,
                )
            return self._connected

    def _has_grpc(self) -> bool:
        if not self._grpc_port:
            return False
        try:
            socket.create_connection((self._host, self._grpc_port), _PROBE_SECONDS).close()
        except OSError:
            return False
        return True

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

    def _is_ours(self, name: str) -> bool:
        try:
            self.spec(name)
        except InvalidInputError:
            return False  # foreign, of a name that is none of ours, or gone meanwhile
        return True

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
        most = _REQUEST_NUMBERS[self._uses_grpc]
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


def _to_struct(point: Point) -> models.PointStruct:
    vectors: dict[str, Any] = {
        DENSE: point.dense.tolist(),
        SPARSE: to_sparse(point.sparse),
    }
    if point.colbert is not None:
        vectors[COLBERT] = point.colbert.astype(np.float32).tolist()
    # Not validated: it would look at every number of lists that are ours.
    return models.PointStruct.model_construct(
        id=str(point.stored.id), vector=vectors, payload=to_payload(point.stored)
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        wrong = not parts.hostname or parts.port == 0
    except ValueError as error:
        raise InvalidInputError(f"{url!r} is no URL of a Qdrant server: {error}") from error
    if wrong or parts.scheme not in ("http", "https"):
        raise InvalidInputError(f"{url!r} is no URL of a Qdrant server: http(s)://HOST:6333")
    if parts.username or parts.password or parts.fragment:
        raise InvalidInputError(
            "a Qdrant server's URL has no user, password or fragment; its API key goes into "
            "BGEM3_STORE_API_KEY"
        )
    return parts


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _grpc_port(parts: SplitResult) -> int:
    options = parse_qs(parts.query, keep_blank_values=True)
    given = options.pop("grpc_port", [str(_GRPC_PORT)])[-1]
    if options or not given.isdecimal() or int(given) > 65535:
        raise InvalidInputError(
            f"the only option of a Qdrant server's URL is grpc_port=NUMBER, not {parts.query!r}"
        )
    return int(given)
