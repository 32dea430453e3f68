"""Qdrant in this process, in a folder.

Each collection has a folder of its own, which is a Qdrant folder of its own: a process loads and
locks the collections that it uses, and no other. ``spec.json`` in it says how it was made. A
collection is made under another name and then renamed, and renamed before it is removed, so that
one of a valid name is whole whenever a process is killed.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import portalocker
import pydantic
from qdrant_client.client_base import QdrantBase
from qdrant_client.local.qdrant_local import QdrantLocal

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    ForeignCollectionError,
    StoreError,
)
from bgem3_retrieval.stores.collection import CollectionSpec, checked_name
from bgem3_retrieval.stores.fit import check_points_fit
from bgem3_retrieval.stores.kept_spec import read_spec
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.open_collection import OpenCollection
from bgem3_retrieval.stores.qdrant.store import Answer, QdrantStore
from bgem3_retrieval.stores.qdrant.vectors import sparse_config, vectors_config
from bgem3_retrieval.stores.query import QueryVectors, Representation

_SPEC_FILE: Final = "spec.json"
_LOCK_FILE: Final = "bgem3.lock"
# No collection's name begins with a dot: what is being made, and what is being removed.
_UNFINISHED: Final = ".unfinished-"
# Where it stops being reasonable: see docs/stores.md for what was measured.
_WARN_CHUNKS: Final = 10_000
_WARN_BYTES: Final = 2 * 1024**3
_SEARCH_SECONDS_A_CHUNK: Final = 36e-6

# Said by `embedded_warning`, with this project's advice.
warnings.filterwarnings("ignore", message="Local mode is not recommended", category=UserWarning)


def embedded_warning(chunks: int, size_bytes: int) -> str | None:
    """Return what to tell a user whose collection is too large for an embedded Qdrant.

    Args:
        chunks: In the collection.
        size_bytes: Of its folder. It takes about twice as much memory while it is open.
    """
    if chunks < _WARN_CHUNKS and size_bytes < _WARN_BYTES:
        return None
    return (
        f"{chunks:,} chunks ({size_bytes / 1024**3:.1f} GiB) are much for an embedded Qdrant: all "
        "of it is loaded into memory each time, and a search looks at every chunk (some "
        f"{chunks * _SEARCH_SECONDS_A_CHUNK:.1f} s). A Qdrant server holds more: --store "
        "http://HOST:6333. Smaller: --colbert pooled or none; with none, and without a server, "
        "--store milvus:FILE.db is quicker"
    )


class EmbeddedQdrant(QdrantStore):
    """A folder of collections, each of them open in one process at a time.

    A search looks at every chunk. Each point is a transaction, and `put` waits for the disk once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, OpenCollection] = {}
        # `qdrant_client` guards nothing in this mode.
        self._guard = threading.RLock()
        self._closed = False

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    def create(self, spec: CollectionSpec) -> None:
        """See the base class.

        Raises:
            CollectionExistsError: There is one of that name.
            InvalidInputError: It is to keep 8 bits a number, which only a server can.
            ForeignCollectionError: The folder of that name is something else.
        """
        if spec.storage == "int8":
            raise InvalidInputError(
                "an embedded Qdrant keeps no 8-bit numbers: choose float16, or a Qdrant server"
            )
        with self._guard, self._translated(spec.name):
            target = self._folder / spec.name
            if (target / _SPEC_FILE).is_file():
                raise CollectionExistsError(f"{self.address} has a collection {spec.name} already")
            if target.exists():
                raise ForeignCollectionError(
                    f"{self.address} has {spec.name} already, which is no collection of this "
                    "project; it is left alone: choose another name or another folder"
                )
            self._remove_unfinished()
            unfinished = self._folder / f"{_UNFINISHED}{uuid4().hex}"
            unfinished.mkdir(parents=True)
            with self._lock(unfinished, spec.name):
                client = QdrantLocal(str(unfinished), force_disable_check_same_thread=True)
                client.create_collection(
                    spec.name, vectors_config(spec), sparse_config(), metadata=spec.model_dump()
                )
                client.close()
                _write_durably(unfinished / _SPEC_FILE, spec.model_dump_json(indent=2) + "\n")
                unfinished.rename(target)

    def spec(self, name: str) -> CollectionSpec:
        """See the base class."""
        with self._guard, self._translated(name):
            self._check_open()
            folder = self._folder / checked_name(name)
            try:
                text = (folder / _SPEC_FILE).read_text(encoding="utf-8")
            except FileNotFoundError as error:
                if folder.exists():
                    raise ForeignCollectionError(
                        f"{name} in {self.address} is no collection of this project"
                    ) from error
                raise CollectionNotFoundError(self._not_found(name)) from error
            return read_spec(name, self.address, text)

    def names(self) -> list[str]:
        """See the base class."""
        with self._guard, self._translated(""):
            self._check_open()
            files = self._folder.glob(f"*/{_SPEC_FILE}")
            names = (file.parent.name for file in files)
            return sorted(name for name in names if not name.startswith("."))

    def drop(self, name: str) -> None:
        """See the base class."""
        with self._guard, self._translated(name):
            self.spec(name)
            target = self._folder / name
            opened = self._open.pop(name, None)
            if opened is not None:
                opened.close()
            with self._lock(target, name):
                removed = target.rename(self._folder / f"{_UNFINISHED}{uuid4().hex}")
            shutil.rmtree(removed)

    def put(self, name: str, points: Sequence[Point]) -> None:
        """See the base class."""
        with self._guard, self._translated(name):
            collection = self._opened(name)
            check_points_fit(collection.spec, points)
            if points:
                collection.put(points)

    def size_bytes(self, name: str) -> int:
        """Return how much a collection takes on the disk."""
        with self._guard, self._translated(name):
            self.spec(name)
            files = (self._folder / name).rglob("*")
            return sum(file.stat().st_size for file in files if file.is_file())

    def size_warning(self, name: str) -> str | None:
        """Return what to tell a user whose collection is too large; see `embedded_warning`."""
        return embedded_warning(self.count(name), self.size_bytes(name))

    def close(self) -> None:
        """See the base class."""
        with self._guard:
            self._closed = True
            while self._open:
                self._open.popitem()[1].close()

    def _ask(self, name: str, request: Callable[[QdrantBase], Answer]) -> Answer:
        with self._guard, self._translated(name):
            return request(self._opened(name).client)

    def _known_spec(self, name: str) -> CollectionSpec:
        with self._guard:
            opened = self._open.get(name)
            return self.spec(name) if opened is None else opened.spec

    def _scores(
        self, name: str, query: QueryVectors, ids: Sequence[UUID]
    ) -> dict[UUID, dict[Representation, float]]:
        with self._guard, self._translated(name):
            return self._opened(name).scores(query, ids)

    def _opened(self, name: str) -> OpenCollection:
        opened = self._open.get(name)
        if opened is None:
            spec = self.spec(name)
            folder = self._folder / name
            with self._lock(folder, name, keep=True) as lock:
                opened = self._open[name] = OpenCollection(folder, spec, lock)
        return opened

    @contextmanager
    def _lock(self, folder: Path, name: str, *, keep: bool = False) -> Iterator[TextIOWrapper]:
        """Hold a collection's lock; it is taken before anything is loaded."""
        # `a`: the file is made where there is none, and never emptied.
        lock = (folder / _LOCK_FILE).open("a")
        try:
            portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
            yield lock
        except BaseException:
            lock.close()
            raise
        if not keep:
            lock.close()

    def _remove_unfinished(self) -> None:
        for folder in self._folder.glob(f"{_UNFINISHED}*"):
            try:
                with self._lock(folder, folder.name):
                    shutil.rmtree(folder)
            except (portalocker.LockException, FileNotFoundError):
                continue  # another process is making or removing it just now

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.address} is closed")

    def _not_found(self, name: str) -> str:
        known = ", ".join(self.names()) or "it has none"
        return f"{self.address} has no collection {name} ({known})"

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        where = f"collection {name} in {self.address}" if name else self.address
        try:
            yield
        except portalocker.AlreadyLocked as error:
            raise StoreError(
                f"{where} is open in another process, and an embedded Qdrant serves one at a "
                "time: wait until it has ended, or use a Qdrant server (--store http://HOST:6333)"
            ) from error
        except portalocker.LockException as error:
            raise StoreError(f"{where} cannot be locked: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{where} cannot be read or written: {error}") from error
        except OSError as error:
            raise StoreError(f"{where} cannot be read or written: {error.strerror}") from error
        except (
            pydantic.ValidationError,
            json.JSONDecodeError,
            UnicodeDecodeError,
            pickle.UnpicklingError,
            EOFError,
        ) as error:
            raise StoreError(f"{where} is damaged, or of a later version: {error}") from error


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
