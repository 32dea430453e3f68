"""A file made into documents, by the reader of its format."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from bgem3_retrieval.documents.document import Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.formats import (
    HEAD_BYTES,
    SUFFIXES,
    Format,
    format_by_content,
    format_by_suffix,
)
from bgem3_retrieval.documents.left_out import LeftOut, Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.characters import clean
from bgem3_retrieval.documents.readers.csv_table import read_csv
from bgem3_retrieval.documents.readers.docx_file import read_docx
from bgem3_retrieval.documents.readers.html_page import read_html
from bgem3_retrieval.documents.readers.jsonl_table import read_jsonl
from bgem3_retrieval.documents.readers.markdown_file import read_markdown
from bgem3_retrieval.documents.readers.parquet_table import read_parquet
from bgem3_retrieval.documents.readers.pdf_file import read_pdf
from bgem3_retrieval.documents.readers.text_file import read_text
from bgem3_retrieval.errors import UnreadableDocumentError

__all__ = ["READER_VERSION", "LeftOut", "ReaderOptions", "Report", "read", "supported_suffixes"]

# Part of a document's fingerprint: raise it when a reader gives another text or other blocks for
# the same bytes, so that what is indexed is read again.
READER_VERSION: Final = 1

_Reader: TypeAlias = Callable[[SourceFile, ReaderOptions, Report], Iterator[Document]]
_READERS: Final[Mapping[Format, _Reader]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "parquet": read_parquet,
}
# Read piece by piece, whatever their size; all others are in memory as a whole.
_TABLES: Final[frozenset[Format]] = frozenset({"jsonl", "csv", "parquet"})
_LOGGER: Final = logging.getLogger(__name__)


def _log(left_out: LeftOut) -> None:
    _LOGGER.warning("%s", left_out)


def read(
    file: SourceFile, options: ReaderOptions | None = None, report: Report = _log
) -> Iterator[Document]:
    """Yield the documents of a file: one, or one for each row of a table.

    Tables are never in memory as a whole. An error may come after documents of the same file.

    Args:
        file: Its suffix says the format; a file with another one, or with none, is looked into.
        options: The defaults if None.
        report: Called with each part of the file that is left out; logs it if not given.

    Raises:
        UnreadableDocumentError: It is of no known format, damaged, encrypted, too large, or has no
            text.
    """
    options = options or ReaderOptions()
    try:
        form = _format(file)
        if form not in _TABLES:
            _check_size(file, options.max_file_bytes)
        for document in _READERS[form](file, options, report):
            yield replace(document, metadata=_storable(document.metadata))
    except OSError as error:
        raise UnreadableDocumentError(
            file.name, f"cannot be read: {error.strerror or error}"
        ) from error


def _storable(metadata: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    """Return it with names and values that can be stored and shown, whatever the format allows."""
    values = {
        clean(name): clean(value) if isinstance(value, str) else value
        for name, value in metadata.items()
    }
    values.pop("", None)
    return values


def supported_suffixes() -> tuple[str, ...]:
    """The suffixes of the files that can be read, in lower case."""
    return tuple(SUFFIXES)


def _format(file: SourceFile) -> Format:
    form = format_by_suffix(file.path)
    if form is None:
        with file.path.open("rb") as stream:
            form = format_by_content(stream.read(HEAD_BYTES))
    if form is None:
        raise UnreadableDocumentError(
            file.name, f"is of no format that can be read ({' '.join(supported_suffixes())})"
        )
    return form


def _check_size(file: SourceFile, max_file_bytes: int) -> None:
    size_bytes = file.path.stat().st_size
    if size_bytes > max_file_bytes:
        raise UnreadableDocumentError(
            file.name,
            f"is too large: {size_bytes:,} bytes, where files of its format may have "
            f"{max_file_bytes:,}",
        )
