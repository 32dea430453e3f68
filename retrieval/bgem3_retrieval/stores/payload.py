"""A chunk as a point's payload, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.stores.point import StoredChunk


def to_payload(stored: StoredChunk) -> dict[str, Any]:
    """Return what a point carries beside its vectors: JSON values, metadata under ``metadata``."""
    chunk = stored.chunk
    payload: dict[str, Any] = {
        "source": chunk.source,
        "fingerprint": stored.fingerprint,
        "chunk_count": stored.chunk_count,
        "position": chunk.position,
        "begin": chunk.begin,
        "end": chunk.end,
        "text": chunk.text,
        "headings": list(chunk.headings),
        "tokens": chunk.tokens,
        "title": chunk.title,
        "metadata": dict(stored.metadata),
    }
    if chunk.page is not None:
        payload["page"] = chunk.page
    return payload


def from_payload(payload: Mapping[str, Any]) -> StoredChunk:
    """Return the chunk that :func:`to_payload` was given."""
    chunk = Chunk(
        source=payload["source"],
        position=payload["position"],
        begin=payload["begin"],
        end=payload["end"],
        text=payload["text"],
        headings=tuple(payload["headings"]),
        tokens=payload["tokens"],
        title=payload["title"],
        page=payload.get("page"),
    )
    return StoredChunk(
        chunk, payload["fingerprint"], payload["chunk_count"], dict(payload["metadata"])
    )
