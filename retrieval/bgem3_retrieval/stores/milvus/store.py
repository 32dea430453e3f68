"""Chunks and their vectors in Milvus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.errors import CollectionExistsError, CollectionNotFoundError
from bgem3_retrieval.stores.collection import CollectionSpec, checked_name
from bgem3_retrieval.stores.exact_scores import exact_scores
from bgem3_retrieval.stores.fit import check_points_fit, check_query_fits
from bgem3_retrieval.stores.kept_spec import made_by_this_project, read_spec
from bgem3_retrieval.stores.milvus.chunk_row import (
    STATE_FIELDS,
    STORED_FIELDS,
    chunk_row,
    dense_of,
    nearest_of,
    sparse_of,
    state_of,
)
from bgem3_retrieval.stores.milvus.colbert_rows import (
    colbert_rows,
    part_count,
    part_ids,
    unpack,
)
from bgem3_retrieval.stores.milvus.connection import connection_to
from bgem3_retrieval.stores.milvus.facets import of_ids, of_source, to_expression
from bgem3_retrieval.stores.milvus.requests import Requests
from bgem3_retrieval.stores.milvus.schema import (
    SPEC_PROPERTY,
    chunks_indexes,
    chunks_schema,
    rows_indexes,
    rows_name,
    rows_schema,
)
from bgem3_retrieval.stores.nearest import Nearest, merged
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.query import (
    Candidate,
    Condition,
    QueryVectors,
    Representation,
    StoredSource,
)

# Milvus's own bound of what a request can ask for.
_MOST_RESULTS: Final = 16_384
_REQUEST_CHUNKS: Final = 500
_MOST_UNSORTED: Final = 100
# 16 MiB a request: a server takes 64.
_REQUEST_PARTS: Final = 256
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
        self._requests = Requests(connection_to(location, api_key), self._forget)
        self._preparing = threading.Lock()
        self._specs: dict[str, CollectionSpec] = {}
        # Chunks written since `_sort`, by collection.
        self._unsorted: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """As it is written in ``--store``."""
        return self._requests.address

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
        if self._requests.exists(name):
            raise CollectionExistsError(f"{self.address} has a collection {name} already")
        # What was left by a process that was killed here, or after it dropped the collection.
        self._requests.drop(name, rows)
        if spec.colbert != "none":
            # A server maps them from its disk: they only score what the others found.
            self._requests.create(name, rows, rows_schema(), {"mmap.enabled": "true"})
        # Last, and in one request with what says that it is ours.
        kept = {SPEC_PROPERTY: spec.model_dump_json()}
        self._requests.create(name, name, chunks_schema(spec), kept)

    def spec(self, name: str) -> CollectionSpec:
        """Return how a collection was made.

        Raises:
            ForeignCollectionError: It was not made by this project.
        """
        checked_name(name)
        try:
            kept = self._requests.properties(name).get(SPEC_PROPERTY)
        except CollectionNotFoundError as error:
            known = ", ".join(self.names()) or "it has none"
            raise CollectionNotFoundError(
                f"{self.address} has no collection {name} ({known})"
            ) from error
        return read_spec(name, self.address, kept)

    def names(self) -> list[str]:
        """The collections that this project made, sorted."""
        return made_by_this_project(self, self._requests.collections())

    def drop(self, name: str) -> None:
        """Remove a collection and all that is in it."""
        self.spec(name)
        self._forget(name)
        for one in (name, rows_name(name)):
            self._requests.drop(name, one)

    def count(self, name: str) -> int:
        """How many points there are."""
        self._ready(name)
        found = self._requests.query(name, name, "", ["count(*)"])
        return int(found[0]["count(*)"])

    def size_warning(self, name: str) -> str | None:
        """Return what to tell a user whose collection has outgrown this store, if it has."""
        if not self._requests.embedded:
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
        states = self._requests.count_by(name, STATE_FIELDS, state_of)
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
        chunks = [chunk_row(point) for point in unique]
        for begin in range(0, len(unique), _REQUEST_CHUNKS):
            end = begin + _REQUEST_CHUNKS
            parts = chain.from_iterable(colbert_rows(spec, point) for point in unique[begin:end])
            while batch := list(islice(parts, _REQUEST_PARTS)):
                self._requests.upsert(name, rows_name(name), batch)
            self._requests.upsert(name, name, chunks[begin:end])
            self._unsorted[name] += len(chunks[begin:end])

    def remove_source(self, name: str, source: str, *, keep_fingerprint: str | None = None) -> None:
        """Remove the points of a document, except for those of one state of it."""
        spec = self._ready(name)
        self._sort(spec)
        selected = of_source(source, keep_fingerprint)
        self._requests.delete(name, name, selected)
        if spec.colbert != "none":
            # By the document, not by the chunks: also what a killed process left without any.
            self._requests.delete(name, rows_name(name), selected)

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
        found: dict[Representation, list[Nearest]] = {}
        if query.dense is not None:
            found["dense"] = self._search(name, "dense", query.dense, limit, expression)
        if query.sparse is not None and len(query.sparse):
            weights = query.sparse.as_dict()
            hits = self._search(name, "sparse", weights, limit, expression)
            # No token in common is not found.
            found["sparse"] = [hit for hit in hits if hit.score > 0]
        return merged(found)

    def scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> Mapping[UUID, Mapping[Representation, float]]:
        """Return the scores of some chunks by each representation that the query has.

        The vectors are fetched and scored here: exact, up to what the storage rounds.
        """
        spec = self._ready(name)
        check_query_fits(spec, query)
        fields = ["colbert_rows"]
        fields += [] if query.dense is None else ["dense"]
        fields += [] if query.sparse is None else ["sparse"]
        rows = self._rows(name, ids, fields)
        scores = {
            one: exact_scores(
                query,
                dense=dense_of(row) if "dense" in row else None,
                sparse=sparse_of(row) if "sparse" in row else None,
            )
            for one, row in rows.items()
        }
        if query.colbert is not None and spec.colbert != "none":
            for one, tokens in self._tokens(spec, rows):
                scores[one] |= exact_scores(query, colbert=tokens)
        return scores

    def lexical_weights(self, name: str, ids: Sequence[UUID]) -> dict[UUID, SparseEmbedding]:
        """Return the lexical weights of some chunks, as they were put."""
        self._ready(name)
        return {one: sparse_of(row) for one, row in self._rows(name, ids, ["sparse"]).items()}

    def close(self) -> None:
        """Let go of the store. Again: nothing."""
        self._requests.close()

    def _ready(self, name: str) -> CollectionSpec:
        """Return how a collection was made; it is loaded, with its indexes, once it was asked."""
        with self._preparing:
            known = self._specs.get(name)
            if known is None or self._requests.closed:
                known = self.spec(name)
                self._prepare(known)
                self._specs[name] = known
            return known

    def _forget(self, name: str) -> None:
        self._specs.pop(name, None)

    def _prepare(self, spec: CollectionSpec) -> None:
        indexes = {spec.name: chunks_indexes(exact=self._requests.embedded)}
        if spec.colbert != "none":
            indexes[rows_name(spec.name)] = rows_indexes()
        for one, wanted in indexes.items():
            self._requests.load(spec.name, one, wanted)
        # A process that was killed may have left any number of them.
        self._unsorted[spec.name] = _MOST_UNSORTED + 1

    def _sort(self, spec: CollectionSpec) -> None:
        """Let the embedded Milvus make files with indexes of what was written last.

        Until then it is in a log, of which each chunk takes a search a millisecond.
        """
        if not self._requests.embedded or self._unsorted[spec.name] <= _MOST_UNSORTED:
            return
        self._unsorted[spec.name] = 0
        for one in (spec.name, rows_name(spec.name))[: 1 if spec.colbert == "none" else 2]:
            self._requests.flush(spec.name, one)

    def _search(
        self,
        name: str,
        field: str,
        vector: NDArray[np.float32] | dict[int, float],
        limit: int,
        expression: str,
    ) -> list[Nearest]:
        hits = self._requests.search(name, field, vector, limit, expression, STORED_FIELDS)
        return [nearest_of(hit) for hit in hits]

    def _rows(
        self, name: str, ids: Sequence[UUID], fields: Sequence[str]
    ) -> dict[UUID, dict[str, Any]]:
        """Fetch fields of those chunks that are there, a request's worth at a time."""
        rows: dict[UUID, dict[str, Any]] = {}
        for begin in range(0, len(ids), _REQUEST_CHUNKS):
            expression = of_ids("id", ids[begin : begin + _REQUEST_CHUNKS])
            for row in self._requests.query(name, name, expression, ["id", *fields]):
                rows[UUID(row["id"])] = row
        return rows

    def _tokens(
        self, spec: CollectionSpec, chunks: Mapping[UUID, Mapping[str, Any]]
    ) -> Iterator[tuple[UUID, NDArray[np.float32]]]:
        """Fetch the ColBERT vectors of some chunks, a request's worth at a time."""
        keys = {
            one: part_ids(one, part_count(spec, row["colbert_rows"])) for one, row in chunks.items()
        }
        wanted = [key for parts in keys.values() for key in parts]
        found: dict[str, str] = {}
        for begin in range(0, len(wanted), _REQUEST_PARTS):
            expression = of_ids("id", wanted[begin : begin + _REQUEST_PARTS])
            rows = self._requests.query(
                spec.name, rows_name(spec.name), expression, ["id", "numbers"]
            )
            found |= {row["id"]: row["numbers"] for row in rows}
        for one, parts in keys.items():
            # A chunk that is being removed by another process loses its vectors after itself.
            if all(key in found for key in parts):
                yield one, unpack(spec, [found.pop(key) for key in parts])
