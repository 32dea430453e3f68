"""Plain text."""

from __future__ import annotations

from collections.abc import Iterator

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import NO_TEXT, paragraphs
from bgem3_retrieval.documents.readers.characters import clean
from bgem3_retrieval.documents.readers.encodings import decoded
from bgem3_retrieval.errors import UnreadableDocumentError


def read_text(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield the text as it is, with its paragraphs as blocks."""
    text = clean(decoded(file.name, file.path.read_bytes()))
    blocks = tuple(paragraphs(text))
    if not blocks:
        raise UnreadableDocumentError(file.name, NO_TEXT)
    yield Document(file.name, text, blocks)
