"""Lines made into records: plain text, or JSON objects with a field that holds the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from bgem3_retrieval.bulk.inputs import Inputs, without_gzip_suffix
from bgem3_retrieval.bulk.records import Line, Record, Rejection

InputFormat: TypeAlias = Literal["auto", "lines", "jsonl"]
_JSONL_SUFFIXES: Final = (".jsonl", ".ndjson")


class _BadLineError(ValueError):
    """Why a line holds no text."""


@dataclass(frozen=True)
class RecordReader:
    """Reads records, one from each line, and says of every other line what is wrong with it.

    A record without an id of its own gets its line's number, and ``file:number`` where there are
    several inputs. Empty lines are empty texts, except in JSONL, where they are nothing.

    Attributes:
        inputs: Where the lines come from.
        input_format: ``auto`` takes ``*.jsonl`` and ``*.ndjson`` for JSONL and all else for lines.
        text_field: JSONL: the field with the text, a string.
        id_field: JSONL: the field with the id, a string or an integer; it may be missing.
    """

    inputs: Inputs
    input_format: InputFormat = "auto"
    text_field: str = "text"
    id_field: str = "id"

    def __iter__(self) -> Iterator[Record | Rejection]:
        for line in self.inputs.lines():
            jsonl = self._is_jsonl(line.source)
            if jsonl and not line.content.strip():
                continue
            try:
                content = _utf8(line.content)
                yield self._record(line, content) if jsonl else self._plain(line, content)
            except _BadLineError as error:
                yield Rejection(line, str(error))

    def _is_jsonl(self, source: str) -> bool:
        if self.input_format == "auto":
            return without_gzip_suffix(source).lower().endswith(_JSONL_SUFFIXES)
        return self.input_format == "jsonl"

    def _plain(self, line: Line, content: str) -> Record:
        return Record(line, self._default_id(line), content)

    def _record(self, line: Line, content: str) -> Record:
        fields = _json_object(content)
        if self.text_field not in fields:
            names = ", ".join(repr(name) for name in fields) or "none"
            raise _BadLineError(f"no field {self.text_field!r} (there: {names:.200})")
        text = fields[self.text_field]
        if not isinstance(text, str):
            raise _BadLineError(
                f"field {self.text_field!r} must be a string, not {_json_type(text)}"
            )
        _check_unicode(self.text_field, text)
        return Record(line, self._id(line, fields), text)

    def _id(self, line: Line, fields: dict[str, Any]) -> str:
        if self.id_field not in fields:
            return self._default_id(line)
        value = fields[self.id_field]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise _BadLineError(
                f"field {self.id_field!r} must be a string or an integer, not {_json_type(value)}"
            )
        text = str(value)
        _check_unicode(self.id_field, text)
        if "\0" in text:
            # NumPy's strings cannot end with one.
            raise _BadLineError(f"field {self.id_field!r} must not contain the character U+0000")
        return text

    def _default_id(self, line: Line) -> str:
        return str(line.number) if len(self.inputs.names) == 1 else str(line)


def _utf8(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _BadLineError(
            f"not UTF-8: byte 0x{content[error.start]:02x} at position {error.start + 1}"
        ) from error


def _json_object(content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise _BadLineError(f"not JSON: {error.msg} at position {error.pos + 1}") from error
    except RecursionError as error:
        raise _BadLineError("not usable JSON: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise _BadLineError(f"not usable JSON: {error}") from error
    if not isinstance(value, dict):
        raise _BadLineError(f"must be a JSON object, not {_json_type(value)}")
    return value


def _check_unicode(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _BadLineError(
            f"field {field!r} is not valid Unicode: its character {error.start + 1} is the lone "
            f"surrogate U+{ord(text[error.start]):04X}"
        ) from error


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
