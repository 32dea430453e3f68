"""``--where``: what a condition says, and where it is wrong."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from bgem3_retrieval.errors import ConditionError
from bgem3_retrieval.search.filters import parse_condition
from bgem3_retrieval.stores.query import Condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("page>=3", Condition("page", ">=", 3)),
        ("  page  <  3 ", Condition("page", "<", 3)),
        ("language==zh", Condition("language", "==", "zh")),
        ("language != zh", Condition("language", "!=", "zh")),
        ("price<=-1.5e3", Condition("price", "<=", -1500.0)),
        ("draft==true", Condition("draft", "==", True)),
        ("draft=='true'", Condition("draft", "==", "true")),
        ('version=="1.0"', Condition("version", "==", "1.0")),
        ("version==1.0", Condition("version", "==", 1.0)),
        ("version==1.0.2", Condition("version", "==", "1.0.2")),
        ("source==2024", Condition("source", "==", "2024")),
        ("title == Annual leave", Condition("title", "==", "Annual leave")),
        (r'title=="the \"blue\" pump"', Condition("title", "==", 'the "blue" pump')),
        ("source in (a.md,b.md)", Condition("source", "in", ("a.md", "b.md"))),
        ("page in(1, 2)", Condition("page", "in", (1, 2))),
        ("name in ('a, b', \"c)\")", Condition("name", "in", ("a, b", "c)"))),
        ("语言==中文", Condition("语言", "==", "中文")),
        ("'my field'==x", Condition("my field", "==", "x")),
        ("inside==x", Condition("inside", "==", "x")),
        ("meta.year>2000", Condition("meta.year", ">", 2000)),
        ('language==""', Condition("language", "==", "")),
    ],
)
def test_what_a_condition_says(text: str, expected: Condition) -> None:
    """Values are numbers and booleans where they read so, quoted ones strings."""
    parsed = parse_condition(text)

    assert expected == parsed
    # To Python 1, 1.0 and True are the same.
    assert repr(expected) == repr(parsed)


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("", 0, "begins with a field's name"),
        (">=3", 0, "begins with a field's name"),
        ("page", 4, "expected =="),
        ("page=3", 4, "did you mean ==?"),
        ("page=>3", 4, "did you mean >=?"),
        ("page>=", 6, "expected a value"),
        ("page==x", 6, "page is a number"),
        ("page in (1, x)", 12, "page is a number"),
        ("language<zh", 9, "needs a number"),
        ("title>3", 5, "title is a string"),
        ("source in a.md", 10, "parentheses"),
        ("source in (a.md", 15, "closing parenthesis"),
        ("source in (a.md, )", 17, "expected a value"),
        ("source in (a) b", 14, "nothing may follow"),
        ("title=='a", 7, "never closed"),
        ("title=='a' and page==1", 11, "nothing may follow"),
        ("语言=中文", 4, "did you mean ==?"),
    ],
)
def test_where_it_is_wrong(text: str, column: int, reason: str) -> None:
    """A caret stands below the place; Chinese characters are two columns wide."""
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    message, line, caret = str(caught.value).split("\n")

    assert reason in message
    assert f"  {text}" == line
    assert f"  {' ' * column}^" == caret
    assert column == cell_len(text[: caught.value.position])
