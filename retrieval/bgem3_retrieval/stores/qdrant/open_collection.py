"""A collection of the embedded Qdrant, loaded into this process.

`qdrant_client` keeps what it is given. Given lists of numbers, as a server wants them, it writes
9 bytes a number and loads 8; given arrays, it writes and loads the arrays. So points are made of
arrays here, of the type that the collection's storage says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import portalocker
from qdrant_client import models
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.local.qdrant_local import QdrantLocal

from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.exact_scores import exact_scores
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.points import from_sparse, to_struct
from bgem3_retrieval.stores.qdrant.vectors import COLBERT, DENSE, SPARSE
from bgem3_retrieval.stores.query import QueryVectors, Representation


class OpenCollection:
    """One collection with its lock: nothing in it is guarded against several threads.

    Attributes:
        client: Has this collection and no other.
        spec: How it was made.
    """

    def __init__(self, folder: Path, spec: CollectionSpec, lock: TextIOWrapper) -> None:
        """Load a collection.

        Args:
            folder: Where it is.
            spec: How it was made.
            lock: Held, and closed with the collection.

        Raises:
            portalocker.LockException: A program other than this project has it open.
        """
        self.client = _load(folder)
        self.spec = spec
        self._lock = lock
        self._commit_without_waiting()

    @property
    def contents(self) -> LocalCollection:
        """What there is in memory."""
        return self.client.collections[self.spec.name]

    def put(self, points: Sequence[Point]) -> None:
        """Write points; they are on the disk when this returns."""
        dtype = np.float32 if self.spec.storage == "float32" else np.float16
        structs = [to_struct(point, lambda array: np.asarray(array, dtype)) for point in points]
        self.client.upsert(self.spec.name, structs)
        self._keep_as_loaded(structs)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def scores(
        self, query: QueryVectors, ids: Sequence[UUID]
    ) -> dict[UUID, dict[Representation, float]]:
        """Return the scores of those chunks that are there.

        Asked for the scores of some, `qdrant_client` computes those of all chunks first.
        """
        contents = self.contents
        rows = {one: contents.ids.get(str(one)) for one in ids}
        return {
            one: self._scores_of_row(row, query)
            for one, row in rows.items()
            if row is not None and not contents.deleted[row]
        }

    def close(self) -> None:
        """Let go of the files, and then of the lock."""
        self.client.close()
        self._lock.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        storage = self.contents.storage
        if storage is None:
            raise TypeError("a collection in memory has no database")
        return storage.storage

    def _commit_without_waiting(self) -> None:
        """Let SQLite wait for the disk when it is told to, not at each point's commit.

        With its write-ahead log nothing can be damaged by that. The lock makes it needless to
        share the log with other processes.
        """
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}")

    def _keep_as_loaded(self, points: Sequence[models.PointStruct]) -> None:
        """Keep ColBERT vectors in memory as they are on the disk; upserting made them float32."""
        contents = self.contents
        if COLBERT in contents.multivectors:
            for point in points:
                vectors: Any = point.vector  # arrays, which the type does not know
                contents.multivectors[COLBERT][contents.ids[point.id]] = vectors[COLBERT]

    def _scores_of_row(self, row: int, query: QueryVectors) -> dict[Representation, float]:
        contents = self.contents
        colbert = contents.multivectors.get(COLBERT)
        return exact_scores(
            query,
            dense=contents.vectors[DENSE][row].astype(np.float32),
            sparse=None
            if query.sparse is None
            else from_sparse(contents.sparse_vectors[SPARSE][row]),
            colbert=None if colbert is None else colbert[row],
        )


def _load(folder: Path) -> QdrantLocal:
    try:
        return QdrantLocal(str(folder), force_disable_check_same_thread=True)
    except RuntimeError as error:
        if isinstance(error.__context__, portalocker.LockException):
            raise error.__context__ from error
        raise
