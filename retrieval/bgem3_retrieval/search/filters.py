"""Conditions as people write them: ``page>=3``, ``language==zh``, ``source in (a, b)``."""

from __future__ import annotations

import re
from typing import Final, cast

from bgem3_retrieval.documents.document import MetadataValue
from bgem3_retrieval.errors import ConditionError
from bgem3_retrieval.stores.query import Condition, Operator

_OPERATORS: Final = "==, !=, <, <=, >, >= or in"
_MISTAKEN: Final = {
    "=>": ">=",
    "=<": "<=",
    "=": "==",
    "<>": "!=",
    "not in": "!=",
    "≥": ">=",
    "≤": "<=",
}
_ORDERED: Final = frozenset({"<", "<=", ">", ">="})
# The fields that every chunk has, and what they hold.
_STRINGS: Final = frozenset({"source", "title"})
_NUMBERS: Final = frozenset({"page"})

_SPACE: Final = re.compile(r"\s*")
_QUOTED: Final = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_NAME: Final = re.compile(r"[^\W\d][\w.\-]*")
_OPERATOR: Final = re.compile(r"==|!=|<=|>=|<|>|in(?=[\s(])")
_BARE: Final = re.compile(r"""[^"'\s][^\n]*""")
_BARE_IN_LIST: Final = re.compile(r"""[^"'\s,()][^,()\n]*""")
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}")
_FLOAT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_BOOLEANS: Final = {"true": True, "false": False}


def parse_condition(text: str) -> Condition:
    """Return what a condition says.

    ``FIELD OPERATOR VALUE``, with or without spaces. The operator is ``==``, ``!=``, ``<``,
    ``<=``, ``>``, ``>=``, or ``in`` with several values: ``language in (zh, en)``. A value is a
    number or ``true`` or ``false`` where it reads like one, and a string otherwise; quotes make
    anything a string (``version == "1.0"``), and are also for fields and values that hold more
    than letters. Of ``source`` and ``title`` every value is a string.

    Raises:
        ConditionError: It is no condition; the message shows where.
    """
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def condition(self) -> Condition:
        self._skip_space()
        field = self._field()
        self._skip_space()
        begin = self._position
        operator = self._operator()
        self._skip_space()
        values_begin = self._position
        if operator == "in":
            values = self._list(field)
            self._end()
            return Condition(field, operator, values)
        value = self._value(field, _BARE)
        self._end()
        if operator in _ORDERED and isinstance(value, str | bool):
            if field in _STRINGS:
                raise self._error(begin, f"{field} is a string: compare it with ==, != or in")
            raise self._error(values_begin, f"{operator} needs a number here")
        return Condition(field, operator, value)

    def _field(self) -> str:
        quoted = self._quoted()
        if quoted is not None:
            return quoted
        name = _NAME.match(self._text, self._position)
        if name is None:
            raise self._error(
                self._position, "a condition begins with a field's name, as in page>=3"
            )
        self._position = name.end()
        return name.group()

    def _operator(self) -> Operator:
        operator = _OPERATOR.match(self._text, self._position)
        if operator is None:
            rest = self._text[self._position :]
            meant = next(
                (right for wrong, right in _MISTAKEN.items() if rest.startswith(wrong)), ""
            )
            hint = f"; did you mean {meant}?" if meant else ""
            raise self._error(self._position, f"expected {_OPERATORS}{hint}")
        self._position = operator.end()
        return cast(Operator, operator.group())

    def _list(self, field: str) -> tuple[MetadataValue, ...]:
        self._expect("(", "in needs values in parentheses, as in language in (zh, en)")
        values = []
        while True:
            self._skip_space()
            values.append(self._value(field, _BARE_IN_LIST))
            self._skip_space()
            if self._text.startswith(",", self._position):
                self._position += 1
                continue
            self._expect(")", "expected a comma or a closing parenthesis")
            return tuple(values)

    def _value(self, field: str, bare: re.Pattern[str]) -> MetadataValue:
        begin = self._position
        value: MetadataValue | None = self._quoted()
        if value is None:
            match = bare.match(self._text, begin)
            if match is None:
                raise self._error(begin, "expected a value")
            self._position = match.end()
            written = match.group().rstrip()
            value = written if field in _STRINGS else _typed(written)
        if field in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self._error(begin, f"{field} is a number")
        return value

    def _quoted(self) -> str | None:
        if not self._text.startswith(('"', "'"), self._position):
            return None
        match = _QUOTED.match(self._text, self._position)
        if match is None:
            raise self._error(self._position, "this quote is never closed")
        self._position = match.end()
        return re.sub(r"\\(.)", r"\1", match.group(2), flags=re.DOTALL)

    def _expect(self, character: str, reason: str) -> None:
        if not self._text.startswith(character, self._position):
            raise self._error(self._position, reason)
        self._position += 1

    def _end(self) -> None:
        self._skip_space()
        if self._position < len(self._text):
            raise self._error(
                self._position, "nothing may follow here: write one condition at a time"
            )

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._position)
        assert space is not None
        self._position = space.end()

    def _error(self, position: int, reason: str) -> ConditionError:
        from rich.cells import cell_len

        line = "".join(" " if character.isspace() else character for character in self._text)
        # Chinese characters are two columns wide.
        column = cell_len(line[:position])
        message = f"not a condition: {reason}\n  {line}\n  {' ' * column}^"
        return ConditionError(message, position)


def _typed(written: str) -> MetadataValue:
    if written in _BOOLEANS:
        return _BOOLEANS[written]
    if _INTEGER.fullmatch(written):
        return int(written)
    if _FLOAT.fullmatch(written):
        return float(written)
    return written
