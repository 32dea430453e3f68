"""A chunk as a row of Milvus's, and back; its ColBERT vectors are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.stores.milvus.colbert_rows import LONGEST_TEXT_BYTES
from bgem3_retrieval.stores.milvus.facets import FIELD, encoded, to_facets
from bgem3_retrieval.stores.nearest import Nearest
from bgem3_retrieval.stores.payload import from_payload, to_payload
from bgem3_retrieval.stores.point import Point

STORED_FIELDS: Final = ["text", "payload"]
"""What :func:`nearest_of` reads."""
STATE_FIELDS: Final = ["source", "fingerprint", "chunk_count"]
"""What :func:`state_of` reads."""

# A sparse vector has a weight at least, in Milvus. No vocabulary has a token of this number.
_NO_TOKEN: Final = 2**31 - 1


def chunk_row(point: Point) -> dict[str, Any]:
    """Return the row of a chunk.

    Raises:
        InvalidInputError: A text, a name or the metadata is longer than Milvus takes.
    """
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
        "sparse": point.sparse.as_dict() or {_NO_TOKEN: 1.0},
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


def nearest_of(hit: Mapping[str, Any]) -> Nearest:
    """Return what a search by one representation has found."""
    entity = hit["entity"]
    payload = json.loads(entity["payload"]) | {"text": entity["text"]}
    return Nearest(UUID(hit["id"]), from_payload(payload), float(hit["distance"]))


def state_of(row: Mapping[str, Any]) -> tuple[str, str, int]:
    """Return a row's source, its fingerprint, and how many chunks the document has."""
    return unquote(row["source"]), unquote(row["fingerprint"]), row["chunk_count"]


def dense_of(row: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return a row's dense vector [d]."""
    return np.asarray(row["dense"], dtype=np.float32)


def sparse_of(row: Mapping[str, Any]) -> SparseEmbedding:
    """Return a row's lexical weights."""
    weights = {token: weight for token, weight in row["sparse"].items() if token != _NO_TOKEN}
    return SparseEmbedding(
        np.fromiter(weights.keys(), dtype=np.int32, count=len(weights)),
        np.fromiter(weights.values(), dtype=np.float32, count=len(weights)),
    )
