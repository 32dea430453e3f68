"""What a store is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.point import StoredChunk

Representation: TypeAlias = Literal["dense", "sparse", "colbert"]
Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in"]


@dataclass(frozen=True, eq=False)
class QueryVectors:
    """A query's representations; those that are None are neither searched nor scored.

    Attributes:
        dense: float32 [d].
        sparse: Lexical weights by token id.
        colbert: float32 [t, d].
    """

    dense: NDArray[np.float32] | None = None
    sparse: SparseEmbedding | None = None
    colbert: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Condition:
    """One thing that must hold of a chunk.

    Attributes:
        field: ``source``, ``title``, ``page``, or a field of the document's metadata.
        operator: How it is compared; ``!=`` also holds where the field is missing.
        value: With what; of ``in`` a tuple of values.
    """

    field: str
    operator: Operator
    value: MetadataValue | tuple[MetadataValue, ...]


@dataclass(frozen=True)
class Candidate:
    """A chunk that a search has found.

    Attributes:
        id: The point's.
        stored: The chunk.
        found_by: The representations that it was among the nearest of, and the score there.
    """

    id: UUID
    stored: StoredChunk
    found_by: Mapping[Representation, float]


@dataclass(frozen=True)
class StoredSource:
    """What is there of one document in one state of it.

    Attributes:
        source: The document's.
        fingerprint: Which state of it.
        points: How many of its chunks are there.
        chunk_count: How many it has.
    """

    source: str
    fingerprint: str
    points: int
    chunk_count: int

    @property
    def complete(self) -> bool:
        """Whether all its chunks are there."""
        return self.points == self.chunk_count
