"""What is asked of a Milvus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pymilvus import CollectionSchema, MilvusClient, MilvusException
from pymilvus.milvus_client import IndexParams

from bgem3_retrieval.errors import CollectionNotFoundError, StoreError
from bgem3_retrieval.stores.milvus.connection import (
    FAILURES,
    NOT_FOUND_CODE,
    Connection,
    explain,
)

_Answer = TypeVar("_Answer")
_Key = TypeVar("_Key", bound=Hashable)

_TIMEOUT_SECONDS: Final = 60.0
_PAGE_ROWS: Final = 5_000


class Requests:
    """One method a request; any thread may call them.

    Their first argument is the collection of this project that a request is about, for messages:
    it is made of two of Milvus's. All of them raise `StoreError` when Milvus fails or cannot be
    reached, and `CollectionNotFoundError` where there is no such collection.
    """

    def __init__(self, connection: Connection, gone: Callable[[str], None]) -> None:
        """Make them; the first one connects.

        Args:
            connection: Where Milvus is.
            gone: Is told the name of a collection that turns out not to be there.
        """
        self._connection = connection
        self._gone = gone
        # `milvus-lite` does not guard a collection against being written and read at once.
        self._guard: AbstractContextManager[Any] = (
            threading.RLock() if connection.embedded else nullcontext()
        )
        self._opening = threading.Lock()
        self._opened: MilvusClient | None = None
        self._closed = False

    @property
    def address(self) -> str:
        """As it is written in ``--store``."""
        return self._connection.address

    @property
    def embedded(self) -> bool:
        """Whether it is in this process."""
        return self._connection.embedded

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Let go of the connection. Again: nothing."""
        with self._guard, self._opening:
            self._closed = True
            if self._opened is not None:
                self._opened = None
                self._connection.close()

    def collections(self) -> list[str]:
        """Return the names of all collections of Milvus's."""
        return list(self._ask("", lambda client: client.list_collections(timeout=_TIMEOUT_SECONDS)))

    def exists(self, name: str) -> bool:
        """Return whether there is a collection of that name."""
        return bool(
            self._ask(name, lambda client: client.has_collection(name, timeout=_TIMEOUT_SECONDS))
        )

    def properties(self, name: str) -> Mapping[str, str]:
        """Return what a collection was given beside its schema."""
        found = self._ask(
            name, lambda client: client.describe_collection(name, timeout=_TIMEOUT_SECONDS)
        )
        properties: Mapping[str, str] = found.get("properties", {})
        return properties

    def create(
        self, name: str, collection: str, schema: CollectionSchema, properties: dict[str, str]
    ) -> None:
        """Make a collection; what is written to it is seen at once."""
        self._ask(
            name,
            lambda client: client.create_collection(
                collection,
                schema=schema,
                properties=properties,
                consistency_level="Strong",
                timeout=_TIMEOUT_SECONDS,
            ),
        )

    def drop(self, name: str, collection: str) -> None:
        """Remove a collection; it need not be there."""
        self._ask(name, lambda client: client.drop_collection(collection, timeout=_TIMEOUT_SECONDS))

    def load(self, name: str, collection: str, indexes: Mapping[str, IndexParams]) -> None:
        """Make the indexes that are missing, and load a collection: again, it is nothing."""

        def load(client: MilvusClient) -> None:
            there = client.list_indexes(collection, timeout=_TIMEOUT_SECONDS)
            for field, index in indexes.items():
                if field not in there:
                    # Waiting is done by half seconds, and there is nothing in it yet.
                    client.create_index(collection, index, timeout=_TIMEOUT_SECONDS, sync=False)
            client.load_collection(collection, timeout=_TIMEOUT_SECONDS)

        self._ask(name, load)

    def flush(self, name: str, collection: str) -> None:
        """Let files with indexes be made of what was written last."""
        self._ask(name, lambda client: client.flush(collection, timeout=_TIMEOUT_SECONDS))

    def search(
        self,
        name: str,
        field: str,
        vector: NDArray[np.float32] | dict[int, float],
        limit: int,
        expression: str,
        fields: Sequence[str],
    ) -> list[dict[str, Any]]:
        """Return the rows with the largest inner products, the largest first."""
        found = self._ask(
            name,
            lambda client: client.search(
                name,
                data=[vector],
                anns_field=field,
                filter=expression,
                limit=limit,
                output_fields=list(fields),
                search_params={"metric_type": "IP"},
                timeout=_TIMEOUT_SECONDS,
            ),
        )
        return list(found[0])

    def query(
        self, name: str, collection: str, expression: str, fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return the rows that an expression holds for."""
        return list(
            self._ask(
                name,
                lambda client: client.query(
                    collection,
                    filter=expression,
                    output_fields=list(fields),
                    timeout=_TIMEOUT_SECONDS,
                ),
            )
        )

    def count_by(
        self, name: str, fields: Sequence[str], key: Callable[[Mapping[str, Any]], _Key]
    ) -> Counter[_Key]:
        """Return how many rows there are of each key; they are read in pages."""

        def count(client: MilvusClient) -> Counter[_Key]:
            counts: Counter[_Key] = Counter()
            pages = client.query_iterator(
                name,
                batch_size=_PAGE_ROWS,
                output_fields=list(fields),
                timeout=_TIMEOUT_SECONDS,
            )
            try:
                while rows := pages.next():
                    counts.update(map(key, rows))
            finally:
                pages.close()
            return counts

        return self._ask(name, count)

    def upsert(self, name: str, collection: str, rows: list[dict[str, Any]]) -> None:
        """Write rows; they outlive the process when this returns."""
        self._ask(name, lambda client: client.upsert(collection, rows, timeout=_TIMEOUT_SECONDS))

    def delete(self, name: str, collection: str, expression: str) -> None:
        """Remove the rows that an expression holds for."""
        self._ask(
            name,
            lambda client: client.delete(collection, filter=expression, timeout=_TIMEOUT_SECONDS),
        )

    def _ask(self, name: str, request: Callable[[MilvusClient], _Answer]) -> _Answer:
        where = f"collection {name} at {self.address}" if name else self.address
        with self._guard:
            client = self._client()
            try:
                return request(client)
            except FAILURES as error:
                if isinstance(error, MilvusException) and error.code == NOT_FOUND_CODE:
                    self._gone(name)
                    raise CollectionNotFoundError(
                        f"{self.address} has no collection {name}"
                    ) from error
                raise StoreError(f"{where}: {explain(error)}") from error

    def _client(self) -> MilvusClient:
        with self._opening:
            if self._closed:
                raise StoreError(f"the store {self.address} is closed")
            if self._opened is None:
                self._opened = self._connection.open()
            return self._opened
