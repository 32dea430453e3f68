"""The stores that the conformance suite is run against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bgem3_retrieval.stores.collection import Storage
from bgem3_retrieval.stores.store import Store


@dataclass(frozen=True)
class StoreKind:
    """One of them, empty at the beginning of a test.

    Attributes:
        name: For people.
        open: Open it; what was opened before is closed first, and what was written stays.
        storages: What it can keep of a number.
    """

    name: str
    open: Callable[[], Store]
    storages: tuple[Storage, ...] = ("float32", "float16", "int8")
