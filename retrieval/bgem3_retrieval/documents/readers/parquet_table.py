"""Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.rows import BadRowError, RowReader, find_fields
from bgem3_retrieval.errors import UnreadableDocumentError

_BATCH_ROWS: Final = 256
_BUFFER_BYTES: Final = 1 << 20


def read_parquet(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield a document for each row. Columns that are not needed are not read."""
    try:
        # With a buffer a column of a row group is read piece by piece.
        table = pq.ParquetFile(file.path, buffer_size=_BUFFER_BYTES)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of its columns
        raise UnreadableDocumentError(file.name, f"is not a Parquet file: {error}") from error
    with table:
        names = tuple(field.name for field in table.schema_arrow if _holds_values(field.type))
        try:
            fields = find_fields(names, options)
        except BadRowError as error:
            raise UnreadableDocumentError(file.name, str(error)) from error
        needed = {fields.text, fields.id, fields.title, *fields.metadata}
        columns = [name for name in names if name in needed]
        rows = _rows(file.name, table, columns, options)
        yield from RowReader(file, options, report).documents(rows)


def _rows(
    source: str, table: pq.ParquetFile, columns: list[str], options: ReaderOptions
) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    number = 0
    try:
        for batch in _batches(table, columns):
            # A page that is packed well says one text for many rows.
            if batch.nbytes > options.max_unpacked_bytes:
                raise UnreadableDocumentError(
                    source,
                    f"is too large: {batch.num_rows} rows behind row {number} have "
                    f"{batch.nbytes:,} bytes unpacked, and may have {options.max_unpacked_bytes:,}",
                )
            for index in range(batch.num_rows):
                number += 1
                yield number, _row(batch, index)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableDocumentError(
            source, f"is damaged: cannot be read after row {number}: {error}"
        ) from error


def _batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    # One group after the other: what is damaged in one takes no rows of another with it.
    for group in range(table.num_row_groups):
        yield from table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns)


def _row(batch: pa.RecordBatch, index: int) -> dict[str, Any] | BadRowError:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except UnicodeDecodeError:
            return BadRowError(f"field {name!r} is not UTF-8")
        except (ValueError, OverflowError) as error:  # a date that Python has none for
            return BadRowError(f"field {name!r} cannot be used: {error}")
    return row


def _holds_values(kind: pa.DataType) -> bool:
    """Whether a column holds single values, not lists or structures of them, nor bytes."""
    if pa.types.is_dictionary(kind):
        return _holds_values(kind.value_type)
    return not (
        pa.types.is_nested(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
