"""Which conditions make sense, the same for every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.stores.query import Condition

# What a chunk has of its own; every other field is one of the document's metadata.
CHUNK_FIELDS: Final = frozenset({"source", "title", "page"})
_ORDERED: Final = frozenset({"<", "<=", ">", ">="})


def check_conditions(conditions: Sequence[Condition]) -> None:
    """Do nothing if every condition compares what can be compared.

    Raises:
        InvalidInputError: ``in`` without values, another operator with several of them, an order
            of what is no number, or a field without a name.
    """
    for condition in conditions:
        wrong = _what_is_wrong(condition)
        if wrong:
            shown = f"{condition.field} {condition.operator} {condition.value!r}"
            raise InvalidInputError(f"{shown}: {wrong}")


def _what_is_wrong(condition: Condition) -> str | None:
    if not condition.field or '"' in condition.field:
        return "a field's name has a character at least, and no quotation mark"
    several = isinstance(condition.value, tuple)
    if condition.operator == "in":
        return None if several and condition.value else "'in' needs a tuple of one value or more"
    if several:
        return "only 'in' takes several values"
    if condition.operator in _ORDERED and isinstance(condition.value, str | bool):
        return "only numbers have an order"
    return None
