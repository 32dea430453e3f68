"""ColBERT's vectors as text, in parts that Milvus can keep.

Neither the embedded Milvus nor most servers have a type for many vectors of one point, or for
bytes. What all of them have is text of 65,535 bytes, so that the numbers are kept in base64.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bgem3_client.colbert import TokenVectors
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.milvus.facets import encoded
from bgem3_retrieval.stores.point import Point

LONGEST_TEXT_BYTES: Final = 65_535
# Of 65,532 characters of base64.
PART_BYTES: Final = LONGEST_TEXT_BYTES // 4 * 3
# Milvus's collections have a vector, whatever they are for.
NO_VECTOR: Final = (1.0, 0.0)


def colbert_rows(spec: CollectionSpec, point: Point) -> Iterator[dict[str, Any]]:
    """Yield the rows that a chunk's token vectors are kept in; none where it has none."""
    if point.colbert is None:
        return
    stored, texts = point.stored, pack(spec, point.colbert)
    for key, text in zip(part_ids(stored.id, len(texts)), texts, strict=True):
        yield {
            "id": key,
            "source": encoded(stored.chunk.source),
            "fingerprint": encoded(stored.fingerprint),
            "numbers": text,
            "no_vector": NO_VECTOR,
        }


def pack(spec: CollectionSpec, rows: TokenVectors) -> list[str]:
    """Return a chunk's token vectors [t, d] as texts of 65,532 characters at most."""
    numbers = np.ascontiguousarray(rows, dtype=_dtype(spec)).tobytes()
    return [
        base64.b64encode(numbers[begin : begin + PART_BYTES]).decode("ascii")
        for begin in range(0, len(numbers), PART_BYTES)
    ]


def unpack(spec: CollectionSpec, parts: Sequence[str]) -> NDArray[np.float32]:
    """Return the token vectors [t, d] that :func:`pack` was given, up to their rounding."""
    numbers = b"".join(base64.b64decode(part) for part in parts)
    rows = np.frombuffer(numbers, dtype=_dtype(spec)).reshape(-1, spec.colbert_size)
    return rows.astype(np.float32)


def part_count(spec: CollectionSpec, rows: int) -> int:
    """Return how many parts so many token vectors have."""
    return math.ceil(rows * spec.colbert_size * _dtype(spec).itemsize / PART_BYTES)


def part_ids(point: UUID | str, parts: int) -> list[str]:
    """Return the keys of a point's parts, in their order."""
    return [f"{point}:{part}" for part in range(parts)]


def _dtype(spec: CollectionSpec) -> np.dtype[np.float16] | np.dtype[np.float32]:
    return np.dtype("<f4") if spec.storage == "float32" else np.dtype("<f2")
