"""Points whose scores can be computed by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point, StoredChunk
from bgem3_retrieval.stores.query import QueryVectors

SPEC = CollectionSpec(
    name="notes", model="demo", dense_size=8, colbert_size=4, storage="float32", colbert="full"
)


def chunk(
    source: str = "a.md",
    position: int = 0,
    *,
    fingerprint: str = "f1",
    count: int = 1,
    metadata: Mapping[str, MetadataValue] | None = None,
    page: int | None = None,
    title: str = "A title",
) -> StoredChunk:
    """A chunk of a document."""
    return StoredChunk(
        Chunk(
            source=source,
            position=position,
            begin=10 * position,
            end=10 * position + 9,
            text=f"{source} 第{position}段",
            headings=("One", "Two"),
            tokens=7,
            title=title,
            page=page,
        ),
        fingerprint,
        count,
        metadata or {},
    )


def lexical(weights: Mapping[int, float]) -> SparseEmbedding:
    """Lexical weights."""
    return SparseEmbedding(
        np.array(list(weights), dtype=np.int32), np.array(list(weights.values()), dtype=np.float32)
    )


def units(seed: int, *shape: int) -> np.ndarray:
    """Vectors of length 1."""
    rows = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def point(
    stored: StoredChunk | None = None,
    *,
    seed: int = 0,
    sparse: Mapping[int, float] | None = None,
    colbert: bool = True,
    rows: int = 5,
    spec: CollectionSpec = SPEC,
) -> Point:
    """A point with vectors of its own."""
    return Point(
        stored or chunk(),
        units(seed, spec.dense_size),
        lexical({seed + 1: 0.5} if sparse is None else sparse),
        units(seed + 1000, rows, spec.colbert_size) if colbert else None,
    )


def query(seed: int = 0, *, sparse: Mapping[int, float] | None = None) -> QueryVectors:
    """A query with all three representations."""
    return QueryVectors(
        units(seed, SPEC.dense_size),
        lexical({seed + 1: 2.0} if sparse is None else sparse),
        units(seed + 500, 3, SPEC.colbert_size),
    )
