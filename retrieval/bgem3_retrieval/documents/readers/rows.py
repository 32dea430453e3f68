"""Rows of a table made into documents."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from bgem3_retrieval.documents.document import Block, Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import LeftOut, Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import NO_TEXT, paragraphs
from bgem3_retrieval.documents.readers.characters import clean
from bgem3_retrieval.documents.readers.seen_ids import SeenIds
from bgem3_retrieval.errors import UnreadableDocumentError

# In the order in which they are taken; compared without regard to case.
TEXT_FIELDS: Final = (
    "text",
    "content",
    "contents",
    "body",
    "passage",
    "document",
    "chunk",
    "article",
    "abstract",
    "description",
    "正文",
    "内容",
    "文本",
)
ID_FIELDS: Final = (
    "id",
    "_id",
    "doc_id",
    "docid",
    "document_id",
    "passage_id",
    "pid",
    "uuid",
    "编号",
)
TITLE_FIELDS: Final = ("title", "headline", "heading", "subject", "标题")

# Longer strings are texts, not what one filters by.
_MAX_METADATA_CHARACTERS: Final = 256
_MAX_INTEGER: Final = 2**63 - 1


class BadRowError(ValueError):
    """Why a row is left out; the message says it."""


@dataclass(frozen=True)
class Fields:
    """Which fields of a row are what; None where there is none."""

    text: str
    id: str | None
    title: str | None
    metadata: tuple[str, ...]


def find_fields(names: tuple[str, ...], options: ReaderOptions) -> Fields:
    """Return which of a table's fields are what: what the options say, else known names.

    Raises:
        BadRowError: There is no field for the text, or one that the options name is not there.
    """
    if options.text_field is None and _known(names, TEXT_FIELDS) is None:
        raise BadRowError(
            f"no field has a name known to hold text (there: {_shown(names)}): name it as the "
            "text field"
        )
    text = _chosen(names, options.text_field, TEXT_FIELDS)
    if text is None:
        raise BadRowError(f"no field {options.text_field!r} (there: {_shown(names)})")
    identifier = _chosen(names, options.id_field, ID_FIELDS)
    if identifier is None and options.id_field is not None:
        raise BadRowError(f"no field {options.id_field!r} (there: {_shown(names)})")
    title = _chosen(names, options.title_field, TITLE_FIELDS)
    metadata = options.metadata_fields
    if metadata is None:
        metadata = tuple(name for name in names if name not in (text, identifier, title))
    return Fields(text, identifier, title, metadata)


class RowReader:
    """Makes documents of rows, and reports the rows that are none."""

    def __init__(self, file: SourceFile, options: ReaderOptions, report: Report) -> None:
        self._file = file
        self._options = options
        self._report = report
        self._seen = SeenIds()
        # JSONL: each row may have other fields, and few kinds of rows are usual.
        self._fields = lru_cache(maxsize=64)(lambda names: find_fields(names, options))

    def documents(
        self, rows: Iterable[tuple[int, Mapping[str, Any] | BadRowError]]
    ) -> Iterator[Document]:
        """Yield the rows' documents.

        Args:
            rows: The number of each, from 1, and its fields or why there are none.

        Raises:
            UnreadableDocumentError: None of them is a document.
        """
        found = False
        for number, row in rows:
            try:
                if isinstance(row, BadRowError):
                    raise row
                document = self._document(number, row)
            except BadRowError as error:
                self._report(LeftOut(self._file.name, f"row {number}", str(error)))
            else:
                found = True
                yield document
        if not found:
            raise UnreadableDocumentError(self._file.name, "has no row with a text")

    def _document(self, number: int, row: Mapping[str, Any]) -> Document:
        fields = self._fields(tuple(row))
        text = row[fields.text]
        if not isinstance(text, str):
            raise BadRowError(f"field {fields.text!r} must be a string, not {_kind(text)}")
        text = clean(text)
        title = self._title(row, fields)
        # The title is part of what is read: people search by its words.
        shown = f"{title}\n\n{text}" if title else text
        blocks = [Block("heading", 0, len(title), level=1)] if title else []
        blocks += paragraphs(text, begin=len(shown) - len(text))
        if not blocks:
            raise BadRowError(NO_TEXT)
        return Document(
            source=f"{self._file.name}#{self._id(number, row, fields)}",
            text=shown,
            blocks=tuple(blocks),
            title=title,
            metadata=self._metadata(row, fields),
        )

    def _title(self, row: Mapping[str, Any], fields: Fields) -> str:
        title = row[fields.title] if fields.title is not None else None
        return " ".join(clean(title).split()) if isinstance(title, str) else ""

    def _id(self, number: int, row: Mapping[str, Any], fields: Fields) -> str:
        if fields.id is None:
            return str(number)
        value = row[fields.id]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise BadRowError(
                f"field {fields.id!r} must be a string or an integer, not {_kind(value)}"
            )
        identifier = str(value)
        if not identifier.strip():
            raise BadRowError(f"field {fields.id!r} is empty")
        if clean(identifier) != identifier:
            raise BadRowError(f"field {fields.id!r} holds characters that cannot be seen")
        if not self._seen.add(identifier):
            raise BadRowError(f"its id {identifier!r} is that of a row before it")
        return identifier

    def _metadata(self, row: Mapping[str, Any], fields: Fields) -> dict[str, MetadataValue]:
        named = self._options.metadata_fields is not None
        values = {
            name: _metadata_value(row[name], any_length=named)
            for name in fields.metadata
            if name in row
        }
        return {name: value for name, value in values.items() if value is not None}


def _metadata_value(value: object, *, any_length: bool) -> MetadataValue | None:
    """Return what a search can filter by; None of what it cannot."""
    match value:
        case bool():
            return value
        case int():
            return value if abs(value) <= _MAX_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return float(value) if value.is_finite() else None
        case datetime.date() | datetime.time():
            return value.isoformat()
        case str():
            value = clean(value).strip()
            return (
                value if value and (any_length or len(value) <= _MAX_METADATA_CHARACTERS) else None
            )
        case _:
            return None


def _chosen(names: tuple[str, ...], named: str | None, known: tuple[str, ...]) -> str | None:
    if named is not None:
        return named if named in names else None
    return _known(names, known)


def _known(names: tuple[str, ...], known: tuple[str, ...]) -> str | None:
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in known if name in by_lower), None)


def _shown(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names)
    return f"{shown[:200]}…" if len(shown) > 200 else shown or "none"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float() | decimal.Decimal():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "an array"
        case _:
            return "an object"
