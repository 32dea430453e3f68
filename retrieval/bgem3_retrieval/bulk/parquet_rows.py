"""The rows of a Parquet file, some at a time: only the columns that are asked for are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

from bgem3_retrieval.errors import InputFileError

_BATCH_ROWS: Final = 1024
# A column is read in pieces, and not a whole row group of it at once.
_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class ParquetRows:
    """Some neighbouring rows of a file.

    Iterating gives ``(number, text, id)`` of each; the number of a file's first row is 1. A text
    is a string, None where there is none, and bytes where they are not UTF-8.

    Attributes:
        first: The number of the first of them.
        total: Rows of the whole file.
        texts: Theirs.
        ids: Theirs; None where the file has no such column.
    """

    first: int
    total: int
    texts: list[str] | list[bytes | None]
    ids: list[str | int | None] | None

    def __iter__(self) -> Iterator[tuple[int, str | bytes | None, str | int | None]]:
        for offset, text in enumerate(self.texts):
            yield self.first + offset, text, None if self.ids is None else self.ids[offset]


def parquet_rows(
    path: str, text_column: str, id_column: str, after: int = 0
) -> Iterator[ParquetRows]:
    """Yield the rows of a file, in order.

    Args:
        path: The file.
        text_column: Strings.
        id_column: Strings or integers; the file may have no such column.
        after: So many rows are left out at the beginning.

    Raises:
        InputFileError: The file cannot be read, or a column is missing or holds something else.
    """
    try:
        with pa.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            columns = _columns(path, file.schema_arrow, text_column, id_column)
            total = file.metadata.num_rows
            end = 0
            for group in range(file.num_row_groups):
                begin, end = end, end + file.metadata.row_group(group).num_rows
                if end <= after:
                    continue
                for batch in file.iter_batches(_BATCH_ROWS, [group], columns):
                    skipped = min(max(after - begin, 0), len(batch))
                    if kept := batch[skipped:]:
                        yield _rows(kept, begin + skipped + 1, total, columns)
                    begin += len(batch)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputFileError(f"{path}: cannot be read: {error}") from error


def _columns(path: str, schema: pa.Schema, text_column: str, id_column: str) -> list[str]:
    """Return the columns to read: the text's, and the id's where there is one."""
    there = ", ".join(repr(name) for name in schema.names) or "none"
    if text_column not in schema.names:
        raise InputFileError(
            f"{path}: no column {text_column!r} (there: {there:.200}); --text-field names the one "
            "with the text"
        )
    text_type = schema.field(text_column).type
    if not (_is_string(text_type) or pa.types.is_null(text_type)):
        raise InputFileError(
            f"{path}: column {text_column!r} holds {text_type}, not strings; --text-field names "
            "the one with the text"
        )
    if id_column not in schema.names:
        return [text_column]
    id_type = schema.field(id_column).type
    if not (_is_string(id_type) or pa.types.is_integer(id_type) or pa.types.is_null(id_type)):
        raise InputFileError(
            f"{path}: column {id_column!r} holds {id_type}, neither strings nor integers; "
            "--id-field names the one with the id"
        )
    return [text_column] if id_column == text_column else [text_column, id_column]


def _is_string(datatype: pa.DataType) -> bool:
    if pa.types.is_dictionary(datatype):
        datatype = datatype.value_type
    return bool(
        pa.types.is_string(datatype)
        or pa.types.is_large_string(datatype)
        or pa.types.is_string_view(datatype)
    )


def _rows(batch: pa.RecordBatch, first: int, total: int, columns: list[str]) -> ParquetRows:
    ids = _values(batch.column(columns[1])) if len(columns) > 1 else None
    return ParquetRows(first, total, _values(batch.column(columns[0])), ids)


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        # Which of them it was is for the reader to say.
        return list(column.cast(pa.large_binary()).to_pylist())
