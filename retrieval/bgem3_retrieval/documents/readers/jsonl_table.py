"""JSON Lines: an object a line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.rows import BadRowError, RowReader


def read_jsonl(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield a document for each line; blank lines are nothing."""
    with file.path.open("rb") as stream:
        rows = _rows(stream, options.max_row_bytes)
        yield from RowReader(file, options, report).documents(rows)


def _rows(
    stream: BinaryIO, max_row_bytes: int
) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    for number, line in _lines(stream, max_row_bytes):
        if isinstance(line, BadRowError):
            yield number, line
        elif line.strip():
            try:
                yield number, _json_object(line.rstrip(b"\r\n"))
            except BadRowError as error:
                yield number, error


def _lines(stream: BinaryIO, max_row_bytes: int) -> Iterator[tuple[int, bytes | BadRowError]]:
    number = 0
    while line := stream.readline(max_row_bytes + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if len(line) <= max_row_bytes or line.endswith(b"\n"):
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(max_row_bytes)
        yield number, BadRowError(f"is longer than {max_row_bytes:,} bytes")


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadRowError(
            f"is not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1}"
        ) from error
    except json.JSONDecodeError as error:
        raise BadRowError(f"is not JSON: {error.msg} at position {error.pos + 1}") from error
    except RecursionError as error:
        raise BadRowError("is not usable JSON: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise BadRowError(f"is not usable JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRowError("is not a JSON object")
    return value
