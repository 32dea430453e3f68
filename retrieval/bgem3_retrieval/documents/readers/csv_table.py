"""CSV and its relatives."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.encodings import stream_encoding
from bgem3_retrieval.documents.readers.rows import BadRowError, RowReader, find_fields
from bgem3_retrieval.errors import UnreadableDocumentError

_DELIMITERS: Final = ",\t;|"
_SAMPLE_CHARACTERS: Final = 256 * 1024
_SAMPLE_ROWS: Final = 50
# 007 and +1 are names, not numbers.
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]+")


def read_csv(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield a document for each row below the first, which names the columns.

    What delimits the cells is found by trying. Cells of metadata that look like numbers are
    numbers.
    """
    # The limit is the whole process's; without one an open quote could take in the whole file.
    csv.field_size_limit(max(csv.field_size_limit(), options.max_row_bytes))
    with file.path.open("rb") as raw:
        encoding = stream_encoding(file.name, raw)
        stream = io.TextIOWrapper(raw, encoding, errors="replace", newline="")
        try:
            delimiter = _delimiter(stream)
            reader = csv.reader(_lines(stream, options.max_row_bytes), delimiter=delimiter)
            names = tuple(name.strip() for name in next(reader, []))
            fields = find_fields(names, options)
            if len(set(names)) < len(names):
                raise BadRowError("its first row must name each column, and names one twice")
            texts = frozenset(name for name in (fields.text, fields.id, fields.title) if name)
            rows = _rows(reader, names, texts, options.max_row_bytes)
            yield from RowReader(file, options, report).documents(rows)
        except (BadRowError, csv.Error) as error:
            raise UnreadableDocumentError(file.name, str(error)) from error


def _rows(
    reader: Iterator[list[str]], names: tuple[str, ...], texts: frozenset[str], max_row_bytes: int
) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    for number, cells in enumerate(reader, 1):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names):
            yield number, BadRowError(f"has {len(cells)} cells, and there are {len(names)} columns")
        elif sum(map(len, cells)) > max_row_bytes:
            yield number, BadRowError(f"is longer than {max_row_bytes:,} characters")
        else:
            cells += [""] * (len(names) - len(cells))
            row = dict(zip(names, cells, strict=True))
            yield (
                number,
                {name: cell if name in texts else _value(cell) for name, cell in row.items()},
            )


def _lines(stream: io.TextIOWrapper, max_characters: int) -> Iterator[str]:
    for number in itertools.count(1):
        line = stream.readline(max_characters + 1)
        if not line:
            return
        if len(line) > max_characters:
            raise BadRowError(f"its line {number} is longer than {max_characters:,} characters")
        yield line


def _delimiter(stream: io.TextIOWrapper) -> str:
    """Return what gives most rows as many cells as the first has, and more than one."""
    sample = stream.read(_SAMPLE_CHARACTERS)
    stream.seek(0)

    def agreement(delimiter: str) -> tuple[float, int]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        widths = [len(row) for row in itertools.islice(reader, _SAMPLE_ROWS) if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return widths.count(widths[0]) / len(widths), widths[0]

    return max(_DELIMITERS, key=agreement)


def _value(cell: str) -> str | int | float:
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _DECIMAL.fullmatch(cell) else cell
