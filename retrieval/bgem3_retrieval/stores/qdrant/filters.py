"""Conditions as Qdrant's filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from qdrant_client import models

from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.conditions import CHUNK_FIELDS, check_conditions
from bgem3_retrieval.stores.query import Condition

# Integers beyond have neighbours that are the same number to a range, which is of doubles.
_LARGEST_EXACT: Final = 2**53
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def to_filter(conditions: Sequence[Condition]) -> models.Filter | None:
    """Return the filter that holds where all conditions do; None without any.

    Raises:
        InvalidInputError: A condition compares what cannot be compared.
    """
    check_conditions(conditions)
    if not conditions:
        return None
    return models.Filter(
        must=[_match(one) for one in conditions if one.operator != "!="],
        must_not=[_match(one) for one in conditions if one.operator == "!="],
    )


def of_ids(ids: Sequence[UUID]) -> models.Filter:
    """Return the filter that holds for these points."""
    return models.Filter(must=[models.HasIdCondition(has_id=[str(one) for one in ids])])


def of_source(source: str, without_fingerprint: str | None) -> models.Filter:
    """Return the filter of a document's points, without those of one state of it."""
    kept = [] if without_fingerprint is None else [_equals("fingerprint", without_fingerprint)]
    return models.Filter(must=[_equals("source", source)], must_not=kept)


def path_of(field: str) -> str:
    """Return where in the payload a field of a condition is, as Qdrant writes paths."""
    if field in CHUNK_FIELDS:
        return field
    return f"metadata.{field}" if _PLAIN_KEY.fullmatch(field) else f'metadata."{field}"'


def _match(condition: Condition) -> models.Condition:
    path, value = path_of(condition.field), condition.value
    if isinstance(value, tuple):
        return models.Filter(should=[_equals(path, one) for one in value])
    match condition.operator:
        case "<":
            return models.FieldCondition(key=path, range=models.Range(lt=value))
        case "<=":
            return models.FieldCondition(key=path, range=models.Range(lte=value))
        case ">":
            return models.FieldCondition(key=path, range=models.Range(gt=value))
        case ">=":
            return models.FieldCondition(key=path, range=models.Range(gte=value))
        case _:
            return _equals(path, value)


def _equals(path: str, value: MetadataValue) -> models.FieldCondition:
    by_value = isinstance(value, str | bool) or (
        isinstance(value, int) and abs(value) > _LARGEST_EXACT
    )
    if by_value:
        return models.FieldCondition(key=path, match=models.MatchValue(value=value))
    # A match by value takes 2 and 2.0 for different; a range does not.
    return models.FieldCondition(key=path, range=models.Range(gte=value, lte=value))
