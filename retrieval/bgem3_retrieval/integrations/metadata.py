"""What a retrieved document says beside its text."""

from __future__ import annotations

from typing import Any, Final

from bgem3_retrieval.search.result import Hit

SCORES: Final = "scores"
PLACE: Final = frozenset({"position", "begin", "end"})
"""The fields that say where in the document a passage is: for programs, not for a model to read."""


def metadata_of(hit: Hit) -> dict[str, Any]:
    """Return a hit's metadata: the document's own, the passage's, and its scores.

    ``source``, ``title``, ``page`` (None where the format has no pages), ``headings``,
    ``position`` among the document's passages, ``begin`` and ``end`` in its text, in characters,
    and ``scores`` by representation. A document's own field of one of these names gives way, as it
    does in conditions.
    """
    chunk = hit.stored.chunk
    return {
        **hit.stored.metadata,
        "source": chunk.source,
        "title": chunk.title,
        "page": chunk.page,
        "headings": list(chunk.headings),
        "position": chunk.position,
        "begin": chunk.begin,
        "end": chunk.end,
        SCORES: dict(hit.scores),
    }
