"""Settings of retrievers, as options of a search."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from bgem3_client import InvalidInputError
from bgem3_retrieval.integrations.settings import OPTIONS, search_options
from bgem3_retrieval.search.options import SearchOptions
from bgem3_retrieval.stores.query import Condition


def test_settings_become_options() -> None:
    """Conditions are read as the command reads them."""
    options = search_options(3, ["page>=2", "language==zh"], {"mode": "dense", "min_score": 0.1})

    conditions = (Condition("page", ">=", 2), Condition("language", "==", "zh"))
    expected = SearchOptions(limit=3, where=conditions, mode="dense", min_score=0.1)
    assert expected == options


def test_defaults_are_those_of_a_search() -> None:
    """Nothing is decided twice."""
    assert SearchOptions(limit=7) == search_options(7)


def test_every_option_can_be_given() -> None:
    """But for those that have another name here, or no use."""
    names = {field.name for field in fields(SearchOptions)}

    assert names - {"limit", "where", "explain"} == set(OPTIONS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "top_k is 0; it must be an integer from 1 to 10,000"),
        ({"top_k": True}, "top_k is True"),
        ({"top_k": 1, "where": "page>=3"}, r"where is a list of conditions: \['page>=3'\]"),
        ({"top_k": 1, "where": ["page=>3"]}, "did you mean >="),
        ({"top_k": 1, "options": {"modus": "dense"}}, "'modus' is no option.* mode, fusion"),
        ({"top_k": 1, "options": {"limit": 3}}, "'limit' is no option.* beside top_k"),
        ({"top_k": 1, "options": {"mode": "best"}}, "mode is 'best'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    """By the names that were used."""
    with pytest.raises(InvalidInputError, match=message):
        search_options(**settings)
