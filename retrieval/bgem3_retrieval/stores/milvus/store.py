"""Chunks and their vectors in Milvus."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import unquote
from uuid import UUID

import numpy as np
import pydantic
from numpy.typing import NDArray
from pymilvus import CollectionSchema, MilvusClient, MilvusException
from pymilvus.milvus_client import IndexParams

from bgem3_client.errors import InvalidInputError
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ForeignCollectionError,
    StoreError,
)
from bgem3_retrieval.stores.collection import CollectionSpec, checked_name
from bgem3_retrieval.stores.fit import check_points_fit, check_query_fits
from bgem3_retrieval.stores.milvus.connection import (
    FAILURES,
    NOT_FOUND_CODE,
    connection_to,
    explain,
)
from bgem3_retrieval.stores.milvus.facets import (
    FIELD,
    encoded,
    of_ids,
    of_source,
    to_expression,
    to_facets,
)
from bgem3_retrieval.stores.milvus.rows import (
    LONGEST_TEXT_BYTES,
    pack,
    part_count,
    part_ids,
    unpack,
)
from bgem3_retrieval.stores.milvus.schema import (
    NO_VECTOR,
    SPEC_PROPERTY,
    chunks_indexes,
    chunks_schema,
    rows_indexes,
    rows_name,
    rows_schema,
)
from bgem3_retrieval.stores.payload import from_payload, to_payload
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.query import (
    Candidate,
    Condition,
    QueryVectors,
    Representation,
    StoredSource,
)

_Answer = TypeVar("_Answer")

_TIMEOUT_SECONDS: Final = 60.0
# Milvus's own bound of what a request can ask for.
_MOST_RESULTS: Final = 16_384
_PAGE_ROWS: Final = 5_000
_REQUEST_CHUNKS: Final = 500
_MOST_UNSORTED: Final = 100
# 16 MiB a request: a server takes 64.
_REQUEST_PARTS: Final = 256
# A sparse vector has a weight at least, in Milvus. No vocabulary has a token of this number.
_NO_TOKEN: Final = 2**31 - 1
_STORED_FIELDS: Final = ["text", "payload"]
# Of an embedded one: a chunk with all ColBERT vectors of BGE-M3 takes 3.6 MiB of memory.
_WARN_CHUNKS: Final = 10_000
_WARN_CHUNKS_WITH_COLBERT: Final = 1_000


class MilvusStore:
    """See :class:`bgem3_retrieval.stores.store.Store`.

    A chunk's ColBERT vectors are written before it and removed after it: a chunk that is there
    has all its vectors, whenever a process is killed.
    """

    def __init__(self, location: str, *, api_key: str | None = None) -> None:
        """Take down where it is; the first request opens it.

        Args:
            location: The name of an embedded Milvus's file, or ``http(s)://HOST[:19530]``.
            api_key: Of a server that wants one: a token, or ``USER:PASSWORD``.

        Raises:
            InvalidInputError: It is no such URL.
        """
        self._connection = connection_to(location, api_key)
        # `milvus-lite` does not guard a collection against being written and read at once.
        self._guard: AbstractContextManager[Any] = (
            threading.RLock() if self._connection.embedded else nullcontext()
        )
        self._opening = threading.Lock()
        self._preparing = threading.Lock()
        self._opened: MilvusClient | None = None
        self._closed = False
        self._specs: dict[str, CollectionSpec] = {}
        # Chunks written since `_sort`, by collection.
        self._unsorted: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """As it is written in ``--store``."""
        return self._connection.address

    def create(self, spec: CollectionSpec) -> None:
        """Make an empty collection.

        Raises:
            CollectionExistsError: There is one of that name.
            InvalidInputError: It is to keep 8 bits a number.
        """
        if spec.storage == "int8":
            raise InvalidInputError(
                "no 8-bit numbers are kept in Milvus: choose float16, or a Qdrant server"
            )
        name, rows = spec.name, rows_name(spec.name)
        if self._ask(name, lambda client: client.has_collection(name, timeout=_TIMEOUT_SECONDS)):
            raise CollectionExistsError(f"{self.address} has a collection {name} already")
        # What was left by a process that was killed here, or after it dropped the collection.
        self._ask(name, partial(_drop, collection=rows))
        if spec.colbert != "none":
            # A server maps them from its disk: they only score what the others found.
            self._create(rows, rows_schema(), {"mmap.enabled": "true"})
        # Last, and in one request with what says that it is ours.
        self._create(name, chunks_schema(spec), {SPEC_PROPERTY: spec.model_dump_json()})

    def spec(self, name: str) -> CollectionSpec:
        """Return how a collection was made.

        Raises:
            ForeignCollectionError: It was not made by this project.
        """
        checked_name(name)
        try:
            found = self._ask(
                name, lambda client: client.describe_collection(name, timeout=_TIMEOUT_SECONDS)
            )
        except CollectionNotFoundError as error:
            known = ", ".join(self.names()) or "it has none"
            raise CollectionNotFoundError(
                f"{self.address} has no collection {name} ({known})"
            ) from error
        text = found.get("properties", {}).get(SPEC_PROPERTY)
        if text is None:
            raise ForeignCollectionError(
                f"the collection {name} at {self.address} was not made by this project, and is "
                "left alone: choose another name"
            )
        try:
            return CollectionSpec.model_validate_json(text)
        except pydantic.ValidationError as error:
            raise StoreError(
                f"the collection {name} at {self.address} was made by a later version: {error}"
            ) from error

    def names(self) -> list[str]:
        """The collections that this project made, sorted."""
        found = self._ask("", lambda client: client.list_collections(timeout=_TIMEOUT_SECONDS))
        return sorted(name for name in found if self._is_ours(name))

    def drop(self, name: str) -> None:
        """Remove a collection and all that is in it."""
        self.spec(name)
        self._specs.pop(name, None)
        for one in (name, rows_name(name)):
            self._ask(name, partial(_drop, collection=one))

    def count(self, name: str) -> int:
        """How many points there are."""
        self._ready(name)
        found = self._query(name, name, "", ["count(*)"])
        return int(found[0]["count(*)"])

    def size_warning(self, name: str) -> str | None:
        """Return what to tell a user whose collection has outgrown this store, if it has."""
        if not self._connection.embedded:
            return None
        chunks = self.count(name)
        with_rows = self.spec(name).colbert != "none"
        if chunks < (_WARN_CHUNKS_WITH_COLBERT if with_rows else _WARN_CHUNKS):
            return None
        smaller = ". Smaller: --colbert none" if with_rows else ""
        return (
            f"{chunks:,} chunks are much for an embedded Milvus: it holds them in memory, and "
            f"looks at every one. A server holds more: --store milvus+http://HOST:19530{smaller}"
        )

    def sources(self, name: str) -> Iterator[StoredSource]:
        """What is there: one for each document and state of it, sorted."""
        self._sort(self._ready(name))
        states = self._ask(name, lambda client: _states(client, name))
        for (source, fingerprint, chunk_count), points in sorted(states.items()):
            yield StoredSource(source, fingerprint, points, chunk_count)

    def put(self, name: str, points: Sequence[Point]) -> None:
        """Write points; they outlive the process when this returns.

        Raises:
            InvalidInputError: A text, a name or the metadata is longer than Milvus takes.
        """
        spec = self._ready(name)
        check_points_fit(spec, points)
        # The last of those with one id: Milvus takes each once a request.
        unique = list({point.stored.id: point for point in points}.values())
        chunks = [_chunk_row(point) for point in unique]
        for begin in range(0, len(unique), _REQUEST_CHUNKS):
            end = begin + _REQUEST_CHUNKS
            if spec.colbert != "none":
                for parts in _part_batches(spec, unique[begin:end]):
                    self._upsert(name, rows_name(name), parts)
            self._upsert(name, name, chunks[begin:end])
            self._unsorted[name] += len(chunks[begin:end])

    def remove_source(self, name: str, source: str, *, keep_fingerprint: str | None = None) -> None:
        """Remove the points of a document, except for those of one state of it."""
        spec = self._ready(name)
        self._sort(spec)
        selected = of_source(source, keep_fingerprint)
        self._delete(name, name, selected)
        if spec.colbert != "none":
            # By the document, not by the chunks: also what a killed process left without any.
            self._delete(name, rows_name(name), selected)

    def nearest(
        self, name: str, query: QueryVectors, limit: int, where: Sequence[Condition] = ()
    ) -> list[Candidate]:
        """Return the chunks nearest by the query's dense and sparse representations.

        Two searches: Milvus's hybrid one returns fused scores alone.
        """
        if not 1 <= limit <= _MOST_RESULTS:
            raise InvalidInputError(
                f"a search finds 1 to {_MOST_RESULTS:,} chunks in Milvus, not {limit}"
            )
        spec = self._ready(name)
        check_query_fits(spec, query)
        expression = to_expression(where)
        self._sort(spec)
        found: dict[Representation, list[Any]] = {}
        if query.dense is not None:
            found["dense"] = self._search(name, "dense", query.dense, limit, expression)
        if query.sparse is not None and len(query.sparse):
            weights = query.sparse.as_dict()
            hits = self._search(name, "sparse", weights, limit, expression)
            # No token in common is not found.
            found["sparse"] = [hit for hit in hits if hit["distance"] > 0]
        return _merge(found)

    def scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> Mapping[UUID, Mapping[Representation, float]]:
        """Return the scores of some chunks by each representation that the query has.

        The vectors are fetched and scored here: exact, up to what the storage rounds.
        """
        spec = self._ready(name)
        check_query_fits(spec, query)
        vectors = ["colbert_rows"]
        vectors += [] if query.dense is None else ["dense"]
        vectors += [] if query.sparse is None else ["sparse"]
        rows: dict[UUID, dict[str, Any]] = {}
        for begin in range(0, len(ids), _REQUEST_CHUNKS):
            expression = of_ids("id", ids[begin : begin + _REQUEST_CHUNKS])
            for row in self._query(name, name, expression, ["id", *vectors]):
                rows[UUID(row["id"])] = row
        scores: dict[UUID, dict[Representation, float]] = {
            one: _scores_of_row(rows[one], query) for one in ids if one in rows
        }
        if query.colbert is not None and spec.colbert != "none":
            for one, parts in self._colbert_parts(spec, rows):
                tokens = unpack(spec, parts)
                scores[one]["colbert"] = float((query.colbert @ tokens.T).max(axis=1).mean())
        return scores

    def close(self) -> None:
        """Let go of the store. Again: nothing."""
        with self._guard, self._opening:
            self._closed = True
            if self._opened is not None:
                self._opened = None
                self._connection.close()

    def _client(self) -> MilvusClient:
        with self._opening:
            if self._closed:
                raise StoreError(f"the store {self.address} is closed")
            if self._opened is None:
                self._opened = self._connection.open()
            return self._opened

    def _ask(self, name: str, request: Callable[[MilvusClient], _Answer]) -> _Answer:
        where = f"collection {name} at {self.address}" if name else self.address
        with self._guard:
            client = self._client()
            try:
                return request(client)
            except FAILURES as error:
                if isinstance(error, MilvusException) and error.code == NOT_FOUND_CODE:
                    self._specs.pop(name, None)
                    raise CollectionNotFoundError(
                        f"{self.address} has no collection {name}"
                    ) from error
                raise StoreError(f"{where}: {explain(error)}") from error

    def _create(self, name: str, schema: CollectionSchema, properties: dict[str, str]) -> None:
        self._ask(
            name,
            lambda client: client.create_collection(
                name,
                schema=schema,
                properties=properties,
                consistency_level="Strong",
                timeout=_TIMEOUT_SECONDS,
            ),
        )

    def _ready(self, name: str) -> CollectionSpec:
        """Return how a collection was made; it is loaded, with its indexes, once it was asked."""
        with self._preparing:
            known = self._specs.get(name)
            if known is None or self._closed:
                known = self.spec(name)
                self._prepare(known)
                self._specs[name] = known
            return known

    def _prepare(self, spec: CollectionSpec) -> None:
        indexes = {spec.name: chunks_indexes(exact=self._connection.embedded)}
        if spec.colbert != "none":
            indexes[rows_name(spec.name)] = rows_indexes()
        for one, wanted in indexes.items():
            self._ask(spec.name, partial(_load, collection=one, indexes=wanted))
        # A process that was killed may have left any number of them.
        self._unsorted[spec.name] = _MOST_UNSORTED + 1

    def _sort(self, spec: CollectionSpec) -> None:
        """Let the embedded Milvus make files with indexes of what was written last.

        Until then it is in a log, of which each chunk takes a search a millisecond.
        """
        if not self._connection.embedded or self._unsorted[spec.name] <= _MOST_UNSORTED:
            return
        self._unsorted[spec.name] = 0
        for one in (spec.name, rows_name(spec.name))[: 1 if spec.colbert == "none" else 2]:
            self._ask(spec.name, partial(_flush, collection=one))

    def _is_ours(self, name: str) -> bool:
        try:
            self.spec(name)
        except InvalidInputError:
            return False  # foreign, of a name that is none of ours, or gone meanwhile
        return True

    def _search(
        self,
        name: str,
        field: str,
        vector: NDArray[np.float32] | dict[int, float],
        limit: int,
        expression: str,
    ) -> list[dict[str, Any]]:
        found = self._ask(
            name,
            lambda client: client.search(
                name,
                data=[vector],
                anns_field=field,
                filter=expression,
                limit=limit,
                output_fields=_STORED_FIELDS,
                search_params={"metric_type": "IP"},
                timeout=_TIMEOUT_SECONDS,
            ),
        )
        return list(found[0])

    def _query(
        self, name: str, collection: str, expression: str, fields: list[str]
    ) -> list[dict[str, Any]]:
        return list(
            self._ask(
                name,
                lambda client: client.query(
                    collection, filter=expression, output_fields=fields, timeout=_TIMEOUT_SECONDS
                ),
            )
        )

    def _upsert(self, name: str, collection: str, rows: list[dict[str, Any]]) -> None:
        self._ask(name, lambda client: client.upsert(collection, rows, timeout=_TIMEOUT_SECONDS))

    def _delete(self, name: str, collection: str, expression: str) -> None:
        self._ask(
            name,
            lambda client: client.delete(collection, filter=expression, timeout=_TIMEOUT_SECONDS),
        )

    def _colbert_parts(
        self, spec: CollectionSpec, chunks: Mapping[UUID, Mapping[str, Any]]
    ) -> Iterator[tuple[UUID, list[str]]]:
        """Fetch the ColBERT vectors of some chunks, a request's worth at a time."""
        keys = {
            one: part_ids(one, part_count(spec, row["colbert_rows"])) for one, row in chunks.items()
        }
        wanted = [key for parts in keys.values() for key in parts]
        found: dict[str, str] = {}
        for begin in range(0, len(wanted), _REQUEST_PARTS):
            expression = of_ids("id", wanted[begin : begin + _REQUEST_PARTS])
            for row in self._query(spec.name, rows_name(spec.name), expression, ["id", "numbers"]):
                found[row["id"]] = row["numbers"]
        for one, parts in keys.items():
            # A chunk that is being removed by another process loses its vectors after itself.
            if all(key in found for key in parts):
                yield one, [found.pop(key) for key in parts]


def _flush(client: MilvusClient, collection: str) -> None:
    client.flush(collection, timeout=_TIMEOUT_SECONDS)


def _drop(client: MilvusClient, collection: str) -> None:
    """Remove a collection of Milvus's; it need not be there."""
    client.drop_collection(collection, timeout=_TIMEOUT_SECONDS)


def _load(client: MilvusClient, collection: str, indexes: Mapping[str, IndexParams]) -> None:
    """Make the indexes that are missing, and load a collection: again, it is nothing."""
    there = client.list_indexes(collection, timeout=_TIMEOUT_SECONDS)
    for field, index in indexes.items():
        if field not in there:
            # Waiting is done by half seconds, and there is nothing in it yet.
            client.create_index(collection, index, timeout=_TIMEOUT_SECONDS, sync=False)
    client.load_collection(collection, timeout=_TIMEOUT_SECONDS)


def _states(client: MilvusClient, name: str) -> Counter[tuple[str, str, int]]:
    states: Counter[tuple[str, str, int]] = Counter()
    pages = client.query_iterator(
        name,
        batch_size=_PAGE_ROWS,
        output_fields=["source", "fingerprint", "chunk_count"],
        timeout=_TIMEOUT_SECONDS,
    )
    try:
        while rows := pages.next():
            for row in rows:
                source, fingerprint = unquote(row["source"]), unquote(row["fingerprint"])
                states[source, fingerprint, row["chunk_count"]] += 1
    finally:
        pages.close()
    return states


def _chunk_row(point: Point) -> dict[str, Any]:
    stored = point.stored
    payload = to_payload(stored)
    text = payload.pop("text")
    row = {
        "id": str(stored.id),
        "source": encoded(stored.chunk.source),
        "fingerprint": encoded(stored.fingerprint),
        "text": text,
        "payload": json.dumps(payload, ensure_ascii=False),
        "chunk_count": stored.chunk_count,
        "colbert_rows": 0 if point.colbert is None else len(point.colbert),
        FIELD: to_facets(stored),
        "dense": point.dense,
        "sparse": _to_sparse(point.sparse),
    }
    sizes = {field: len(row[field].encode()) for field in ("source", "text", "payload")}
    sizes["metadata"] = len(json.dumps(row[FIELD]))
    for field, size_bytes in sizes.items():
        if size_bytes > LONGEST_TEXT_BYTES:
            raise InvalidInputError(
                f"{stored.chunk.source}: the {field} of chunk {stored.chunk.position} has "
                f"{size_bytes:,} bytes, and Milvus takes {LONGEST_TEXT_BYTES:,} at most"
                + (": make smaller chunks (--max-tokens)" if field == "text" else "")
            )
    return row


def _part_batches(spec: CollectionSpec, points: Sequence[Point]) -> Iterator[list[dict[str, Any]]]:
    """Return the rows of the ColBERT vectors of some points, a request's worth at a time."""
    batch: list[dict[str, Any]] = []
    for point in points:
        if point.colbert is None:
            continue
        stored, texts = point.stored, pack(spec, point.colbert)
        for key, text in zip(part_ids(stored.id, len(texts)), texts, strict=True):
            if len(batch) == _REQUEST_PARTS:
                yield batch
                batch = []
            batch.append(
                {
                    "id": key,
                    "source": encoded(stored.chunk.source),
                    "fingerprint": encoded(stored.fingerprint),
                    "numbers": text,
                    "no_vector": NO_VECTOR,
                }
            )
    if batch:
        yield batch


def _to_sparse(embedding: SparseEmbedding) -> dict[int, float]:
    return embedding.as_dict() or {_NO_TOKEN: 1.0}


def _merge(found: Mapping[Representation, Sequence[Mapping[str, Any]]]) -> list[Candidate]:
    scores: dict[str, dict[Representation, float]] = {}
    best_ranks: dict[str, int] = {}
    entities: dict[str, Mapping[str, Any]] = {}
    for representation, hits in found.items():
        for rank, hit in enumerate(hits):
            point_id = hit["id"]
            entities[point_id] = hit["entity"]
            scores.setdefault(point_id, {})[representation] = float(hit["distance"])
            best_ranks[point_id] = min(rank, best_ranks.get(point_id, rank))
    return [
        Candidate(
            UUID(point_id),
            from_payload(
                json.loads(entities[point_id]["payload"]) | {"text": entities[point_id]["text"]}
            ),
            scores[point_id],
        )
        for point_id in sorted(entities, key=best_ranks.__getitem__)
    ]


def _scores_of_row(row: Mapping[str, Any], query: QueryVectors) -> dict[Representation, float]:
    scores: dict[Representation, float] = {}
    if query.dense is not None:
        scores["dense"] = float(query.dense @ np.asarray(row["dense"], dtype=np.float32))
    if query.sparse is not None:
        weights, stored = query.sparse.as_dict(), row["sparse"]
        scores["sparse"] = float(sum(weights.get(token, 0.0) * stored[token] for token in stored))
    return scores
