"""Lines made into records: plain text, JSON objects with a field for the text, Parquet rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from bgem3_retrieval.bulk.inputs import STANDARD_INPUT, Inputs, display_name, without_gzip_suffix
from bgem3_retrieval.bulk.parquet_library import parquet_library
from bgem3_retrieval.bulk.records import START, Line, Position, Record, Rejection
from bgem3_retrieval.errors import InputFileError

InputFormat: TypeAlias = Literal["auto", "lines", "jsonl", "parquet"]
_Format: TypeAlias = Literal["lines", "jsonl", "parquet"]
_FORMAT_OF_SUFFIX: Final[tuple[tuple[str, _Format], ...]] = (
    (".jsonl", "jsonl"),
    (".ndjson", "jsonl"),
    (".parquet", "parquet"),
)


class _BadLineError(ValueError):
    """Why a line holds no text."""


@dataclass(frozen=True)
class RecordReader:
    """Reads records, one from each line, and says of every other line what is wrong with it.

    A record without an id of its own gets its line's number, and ``file:number`` where there are
    several inputs. Empty lines are empty texts, except in JSONL, where they are nothing. In
    Parquet a row is a line.

    Attributes:
        inputs: Where the lines come from.
        input_format: ``auto`` goes by the suffix: ``*.jsonl`` and ``*.ndjson``, ``*.parquet``,
            and all else is lines.
        text_field: JSONL and Parquet: the field or column with the text, a string.
        id_field: JSONL and Parquet: the one with the id, a string or an integer; it may be
            missing.
    """

    inputs: Inputs
    input_format: InputFormat = "auto"
    text_field: str = "text"
    id_field: str = "id"

    def __iter__(self) -> Iterator[Record | Rejection]:
        return self.read()

    def read(self, after: Position = START) -> Iterator[Record | Rejection]:
        """Yield every record and rejection, in order.

        Args:
            after: Where an earlier reader of the same inputs stopped.

        Raises:
            InputFileError: An input cannot be opened or read, or has no such column.
            MissingLibraryError: An input is Parquet, and pyarrow is not installed.
        """
        done_bytes = sum(self.inputs.size_bytes(index) or 0 for index in range(after.input))
        for index in range(after.input, len(self.inputs.names)):
            skipped = after.number if index == after.input else 0
            size_bytes = self.inputs.size_bytes(index)
            item: Record | Rejection | None = None
            for item in self._read(index, done_bytes, skipped):
                yield item
            if size_bytes is not None:
                done_bytes += size_bytes
            elif item is not None:
                done_bytes = item.line.end_bytes

    def _read(self, index: int, done_bytes: int, skipped: int) -> Iterator[Record | Rejection]:
        input_format = self._format(index)
        if input_format == "parquet":
            yield from self._rows(index, done_bytes, skipped)
            return
        for line in self.inputs.lines_of(index, done_bytes, skipped):
            if input_format == "jsonl" and not line.content.strip():
                continue
            try:
                content = _utf8(line.content)
                if input_format == "jsonl":
                    yield self._record(line, content)
                else:
                    yield self._plain(line, content)
            except _BadLineError as error:
                yield Rejection(line, str(error))

    def _format(self, index: int) -> _Format:
        if self.input_format != "auto":
            return self.input_format
        name = without_gzip_suffix(self.inputs.names[index]).lower()
        return next(
            (found for suffix, found in _FORMAT_OF_SUFFIX if name.endswith(suffix)), "lines"
        )

    def _rows(self, index: int, done_bytes: int, skipped: int) -> Iterator[Record | Rejection]:
        name = self.inputs.names[index]
        source = display_name(name)
        if name == STANDARD_INPUT:
            raise InputFileError(f"{source}: Parquet is read from files, not from a pipe")
        with parquet_library():
            from bgem3_retrieval.bulk.parquet_rows import parquet_rows
        size_bytes = self.inputs.size_bytes(index) or 0
        for rows in parquet_rows(name, self.text_field, self.id_field, skipped):
            for number, text, row_id in rows:
                content = text.encode() if isinstance(text, str) else text or b""
                end_bytes = done_bytes + size_bytes * number // rows.total
                line = Line(source, number, content, end_bytes, index)
                try:
                    yield self._from_row(line, text, row_id, has_ids=rows.ids is not None)
                except _BadLineError as error:
                    yield Rejection(line, str(error))

    def _from_row(
        self, line: Line, text: str | bytes | None, row_id: str | int | None, *, has_ids: bool
    ) -> Record:
        if text is None:
            raise _BadLineError(f"field {self.text_field!r} must be a string, not null")
        if isinstance(text, bytes):
            text = _utf8(text)
        return Record(line, self._checked_id(row_id) if has_ids else self._default_id(line), text)

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
        return self._checked_id(fields[self.id_field])

    def _checked_id(self, value: object) -> str:
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
