"""What a chunk can be filtered by, and conditions as Milvus's expressions.

A field of JSON may hold a text in one row and a number in another, and what Milvus makes of such
a comparison, or of one with a field that is missing, depends on its version. So each key says the
type of its value: ``number_year``, ``text_year``. All numbers are doubles; integers that no double
holds exactly are kept a second time, as text. Names and texts are percent-encoded: nothing that a
user writes can be more than a value, and no dialect of escapes matters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.stores.conditions import check_conditions
from bgem3_retrieval.stores.point import StoredChunk
from bgem3_retrieval.stores.query import Condition

Facet: TypeAlias = str | float | bool

FIELD: Final = "facets"
_LARGEST_EXACT: Final = 2**53
# A JSON value has 65,536 bytes in all. What is longer is compared by its digest.
_LONGEST_TEXT: Final = 200


def to_facets(stored: StoredChunk) -> dict[str, Facet]:
    """Return all that a chunk can be filtered by; its own fields before the metadata's."""
    fields: dict[str, MetadataValue] = dict(stored.metadata)
    fields.pop("page", None)
    fields |= {"source": stored.chunk.source, "title": stored.chunk.title}
    if stored.chunk.page is not None:
        fields["page"] = stored.chunk.page
    facets: dict[str, Facet] = {}
    for name, value in fields.items():
        facets |= _facets_of(name, value)
    return facets


def to_expression(conditions: Sequence[Condition]) -> str:
    """Return the expression that holds where all conditions do; empty without any.

    Raises:
        InvalidInputError: A condition compares what cannot be compared.
    """
    check_conditions(conditions)
    return " and ".join(f"({_expression(one)})" for one in conditions)


def of_ids(field: str, ids: Sequence[UUID | str]) -> str:
    """Return the expression of these ids; they are UUIDs, with or without a number behind."""
    quoted = ", ".join(f'"{one}"' for one in ids)
    return f"{field} in [{quoted}]"


def of_source(source: str, without_fingerprint: str | None) -> str:
    """Return the expression of a document's rows, without those of one state of it."""
    expression = f'source == "{encoded(source)}"'
    if without_fingerprint is None:
        return expression
    return f'{expression} and fingerprint != "{encoded(without_fingerprint)}"'


def encoded(text: str) -> str:
    """Return a text in characters that need no escape: `urllib.parse.unquote` is the way back."""
    return quote(text, safe="")


def _facets_of(name: str, value: MetadataValue) -> dict[str, Facet]:
    if isinstance(value, str):
        return {_key("text", name): _text(value)}
    if isinstance(value, bool):
        return {_key("flag", name): value}
    facets: dict[str, Facet] = {}
    number = _double(value)
    if number is not None:
        facets[_key("number", name)] = number
    if _is_large(value):
        facets[_key("integer", name)] = str(value)
    return facets


def _expression(condition: Condition) -> str:
    if isinstance(condition.value, tuple):
        return " or ".join(f"({_equals(condition.field, one)})" for one in condition.value)
    match condition.operator:
        case "==":
            return _equals(condition.field, condition.value)
        case "!=":
            return f"not ({_equals(condition.field, condition.value)})"
        case _:
            return _compares(_key("number", condition.field), condition.operator, condition.value)


def _equals(field: str, value: MetadataValue) -> str:
    if isinstance(value, str):
        return _compares(_key("text", field), "==", _text(value))
    if isinstance(value, bool):
        return _compares(_key("flag", field), "==", value)
    if _is_large(value):
        return _compares(_key("integer", field), "==", str(value))
    return _compares(_key("number", field), "==", value)


def _compares(key: str, operator: str, value: MetadataValue) -> str:
    path = f'{FIELD}["{key}"]'
    return f"exists {path} and {path} {operator} {_literal(value)}"


def _literal(value: MetadataValue) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    number = _double(value)
    if number is None:
        raise InvalidInputError(f"no chunk can be compared with {value}: it is no finite number")
    return repr(number)


def _key(kind: str, name: str) -> str:
    return f"{kind}_{encoded(name)}"


def _text(value: str) -> str:
    if len(value) <= _LONGEST_TEXT:
        return encoded(value)
    return "sha256-" + hashlib.sha256(value.encode()).hexdigest()


def _double(value: int | float) -> float | None:
    """Return a number as a double; None of what is no finite one."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _is_large(value: int | float) -> bool:
    return isinstance(value, int) and abs(value) > _LARGEST_EXACT
