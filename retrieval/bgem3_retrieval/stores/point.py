"""A chunk with its vectors, on its way into a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from bgem3_client.colbert import TokenVectors
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.documents.document import MetadataValue

_NAMESPACE: Final = UUID("6b0c1a8e-3f0b-5d5e-9a65-6f1f8f6f6c3d")


@dataclass(frozen=True)
class StoredChunk:
    """What a store keeps beside the vectors.

    Attributes:
        chunk: The passage.
        fingerprint: Of the document as it was: its bytes and all that decides its chunks.
        chunk_count: How many chunks the document has in all: fewer are an interrupted run.
        metadata: The document's.
    """

    chunk: Chunk
    fingerprint: str
    chunk_count: int
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        """The same for the same chunk of the same document: written twice it is there once."""
        chunk = self.chunk
        return uuid5(_NAMESPACE, f"{chunk.source}\n{self.fingerprint}\n{chunk.position}")


@dataclass(frozen=True, eq=False)
class Point:
    """A chunk and its three representations.

    Attributes:
        stored: The chunk, as the store keeps it.
        dense: float32 [d].
        sparse: Lexical weights by token id.
        colbert: [t, d], or [t / pool_factor, d]; None in a collection without.
    """

    stored: StoredChunk
    dense: NDArray[np.float32]
    sparse: SparseEmbedding
    colbert: TokenVectors | None = None
