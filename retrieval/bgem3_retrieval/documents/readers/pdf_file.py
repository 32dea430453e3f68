"""PDF."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from bgem3_retrieval.documents.document import Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import LeftOut, Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import DocumentBuilder
from bgem3_retrieval.documents.readers.pdf_layout import OutlineEntry, TextBlock, lay_out
from bgem3_retrieval.documents.readers.pdf_lines import Line, page_lines
from bgem3_retrieval.errors import UnreadableDocumentError

# PDFium must not be called by two threads, not even for two files.
_LOCK: Final = threading.Lock()
_REASONS: Final[Mapping[int, str]] = {
    pdfium_c.FPDF_ERR_FORMAT: "is damaged, or no PDF file",
    pdfium_c.FPDF_ERR_PASSWORD: "is encrypted: it cannot be read without its password",
    pdfium_c.FPDF_ERR_SECURITY: "is encrypted in a way that is not known",
}
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
    with _LOCK:
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
    try:
        pdf = pdfium.PdfDocument(file.path)
    except pdfium.PdfiumError as error:
        reason = _REASONS.get(error.err_code or 0, "cannot be opened as a PDF file")
        raise UnreadableDocumentError(file.name, reason) from error
    try:
        lines = []
        for index in range(len(pdf)):
            try:
                page = pdf[index]
                lines += page_lines(page, index + 1)
            except pdfium.PdfiumError as error:
                report(LeftOut(file.name, f"page {index + 1}", f"is damaged: {error}"))
            else:
                page.close()
        return lines, list(_outline(pdf)), pdf.get_metadata_dict(skip_empty=True)
    finally:
        pdf.close()


def _outline(pdf: pdfium.PdfDocument) -> Iterator[OutlineEntry]:
    for bookmark in pdf.get_toc():
        destination = bookmark.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None:
            yield OutlineEntry(bookmark.get_title(), bookmark.level + 1, page + 1)


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
