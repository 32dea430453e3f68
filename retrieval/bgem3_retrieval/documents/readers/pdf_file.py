"""PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from bgem3_retrieval.documents.document import Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import LeftOut, Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import DocumentBuilder
from bgem3_retrieval.documents.readers.pdf_extraction import (
    DamagedPage,
    Lines,
    OutlineEntry,
    Properties,
    Unreadable,
)
from bgem3_retrieval.documents.readers.pdf_layout import TextBlock, lay_out
from bgem3_retrieval.documents.readers.pdf_lines import Line
from bgem3_retrieval.documents.readers.pdf_process import PDF_PROCESS
from bgem3_retrieval.errors import UnreadableDocumentError

_SCANNED: Final = "has no text: its pages are pictures or empty; recognise their text (OCR) first"
_NO_CHARACTERS: Final = (
    "has no readable text: its fonts do not say which characters they show; recognise the text "
    "of its pages (OCR) first"
)
# What programs write of their own accord: the name of a file.
_NO_TITLE: Final = re.compile(
    r"untitled.*|.*\.(?:docx?|html?|indd|odt|pdf|pptx?|tex|txt|xlsx?)", re.I
)
_MAX_UNREADABLE_SHARE: Final = 0.3


def read_pdf(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield the text of all pages; what headings and paragraphs are, see `pdf_layout`."""
    lines, outline, properties = _content(file, report)
    blocks = lay_out(lines, outline)
    _check_characters(file.name, blocks)
    builder = DocumentBuilder()
    for block in blocks:
        builder.add(block.kind, block.text, level=block.level, page=block.page)
    metadata: dict[str, MetadataValue] = {}
    if author := properties.get("Author", "").strip():
        metadata["author"] = author
    title = _title(properties.get("Title", ""), blocks)
    yield builder.build(file.name, title=title, metadata=metadata, empty=_SCANNED)


def _content(
    file: SourceFile, report: Report
) -> tuple[list[Line], list[OutlineEntry], dict[str, str]]:
    lines: list[Line] = []
    outline: list[OutlineEntry] = []
    properties: dict[str, str] = {}
    for piece in PDF_PROCESS.extract(file.path):
        match piece:
            case Lines():
                lines += piece.lines
            case OutlineEntry():
                outline.append(piece)
            case Properties():
                properties = piece.properties
            case DamagedPage():
                report(LeftOut(file.name, f"page {piece.page}", piece.reason))
            case Unreadable():
                raise UnreadableDocumentError(file.name, piece.reason)
    return lines, outline, properties


def _check_characters(source: str, blocks: Sequence[TextBlock]) -> None:
    text = "".join("".join(block.text.split()) for block in blocks)
    unreadable = sum(
        character == "\ufffd" or character < " " or "\ue000" <= character <= "\uf8ff"
        for character in text
    )
    if unreadable > _MAX_UNREADABLE_SHARE * len(text):
        raise UnreadableDocumentError(source, _NO_CHARACTERS)


def _title(property_title: str, blocks: Sequence[TextBlock]) -> str:
    """Return the title that the file names, else the heading in the largest letters of page 1."""
    if property_title.strip() and not _NO_TITLE.fullmatch(property_title.strip()):
        return property_title
    on_first = [block for block in blocks if block.page == 1 and len(block.text) <= 200]
    if not on_first:
        return ""
    largest = max(on_first, key=lambda block: block.size)
    others = [block.size for block in blocks if block is not largest]
    return largest.text if not others or largest.size > max(others) else ""
