"""What retrievers are told about a search, in values that every framework can serialise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.search.filters import parse_condition
from bgem3_retrieval.search.options import MAX_CANDIDATES, SearchOptions

DEFAULT_TOP_K: Final = SearchOptions().limit
# Said by `top_k` and `where`, or of no use to a document.
_NOT_HERE: Final = frozenset({"limit", "where", "explain"})
OPTIONS: Final = tuple(f.name for f in fields(SearchOptions) if f.name not in _NOT_HERE)


def search_options(
    top_k: int, where: Sequence[str] | None = None, options: Mapping[str, Any] | None = None
) -> SearchOptions:
    """Return how to search.

    Args:
        top_k: Documents at most.
        where: Conditions that all must hold, as `parse_condition` reads them.
        options: Other attributes of `SearchOptions`, by their names.

    Raises:
        InvalidInputError: One of them is none, or out of its range.
    """
    # To Python True is 1.
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= MAX_CANDIDATES:
        raise InvalidInputError(
            f"top_k is {top_k!r}; it must be an integer from 1 to {MAX_CANDIDATES:,}"
        )
    if isinstance(where, str):
        raise InvalidInputError(f"where is a list of conditions: [{where!r}]")
    options = options or {}
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise InvalidInputError(
            f"{unknown[0]!r} is no option of a search; options are {', '.join(OPTIONS)}, "
            "beside top_k and where"
        )
    conditions = tuple(parse_condition(text) for text in where or ())
    return SearchOptions(limit=top_k, where=conditions, **options)
