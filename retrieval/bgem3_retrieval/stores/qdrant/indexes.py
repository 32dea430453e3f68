"""Payload indexes: what makes filters fast on a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from qdrant_client import models

from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.filters import path_of

# What documents are found, replaced and removed by.
_ALWAYS: Final = {
    "source": models.PayloadSchemaType.KEYWORD,
    "fingerprint": models.PayloadSchemaType.KEYWORD,
    "title": models.PayloadSchemaType.KEYWORD,
    "page": models.PayloadSchemaType.FLOAT,
}
# An index takes memory; a filter by a field without one is slower and as right.
_MOST: Final = 32


def missing_indexes(
    points: Iterable[Point], present: Iterable[str]
) -> dict[str, models.PayloadSchemaType]:
    """Return the indexes that a collection lacks for the fields of these points.

    Args:
        points: To be written.
        present: The paths that are indexed already.

    Returns:
        The kind of index by path; the indexes of a collection never become more than 32.
    """
    wanted = dict(_ALWAYS)
    for point in points:
        for field, value in point.stored.metadata.items():
            if '"' not in field:
                wanted.setdefault(path_of(field), _kind(value))
    # A server leaves out the quotation marks that it does not need.
    known = {path.replace('"', "") for path in present}
    missing = {path: kind for path, kind in wanted.items() if path.replace('"', "") not in known}
    return dict(list(missing.items())[: max(_MOST - len(known), 0)])


def _kind(value: MetadataValue) -> models.PayloadSchemaType:
    if isinstance(value, bool):
        return models.PayloadSchemaType.BOOL
    if isinstance(value, str):
        return models.PayloadSchemaType.KEYWORD
    # Also of integers: the next document may have 2.5 where this one has 2.
    return models.PayloadSchemaType.FLOAT
