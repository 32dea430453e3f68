"""DOCX, as Word and others write it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.coreprops import CoreProperties
from docx.opc.exceptions import OpcError
from docx.opc.part import Part, XmlPart
from docx.oxml.ns import qn
from lxml import etree

from bgem3_retrieval.documents.document import BlockKind, Document, MetadataValue
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.left_out import Report
from bgem3_retrieval.documents.options import ReaderOptions
from bgem3_retrieval.documents.readers.builder import DocumentBuilder
from bgem3_retrieval.documents.readers.docx_numbering import Numbering
from bgem3_retrieval.documents.readers.docx_styles import Styles, is_on
from bgem3_retrieval.errors import UnreadableDocumentError

# OLE's, which holds both encrypted files and those of old versions.
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MATH_TEXT: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_TEXT: Final = frozenset({qn("w:t"), _MATH_TEXT})
_BREAKS: Final = {
    qn("w:br"): "\n",
    qn("w:cr"): "\n",
    qn("w:tab"): "\t",
    qn("w:ptab"): "\t",
    qn("w:noBreakHyphen"): "-",
}
_PARAGRAPH: Final = qn("w:p")
_TABLE: Final = qn("w:tbl")
_TEXT_BOX: Final = qn("w:txbxContent")
# Deleted text, moved text where it was, and pictures of what is there already.
_LEFT_OUT: Final = frozenset(
    {
        qn("w:del"),
        qn("w:moveFrom"),
        qn("w:pPr"),
        qn("w:rPr"),
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    }
)
_DAMAGED: Final = (
    OpcError,
    zipfile.BadZipFile,
    zlib.error,
    etree.LxmlError,
    EOFError,
    # What python-docx and zipfile raise where a part, a name or an attribute is not what it must
    # be, or is packed or encrypted in a way that they do not know.
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
)


def read_docx(file: SourceFile, options: ReaderOptions, report: Report) -> Iterator[Document]:
    """Yield the text of the body: no headers, footers, notes or comments, no table of contents.

    Changes that were tracked and are not yet accepted are taken as accepted.
    """
    _check_package(file, options.max_unpacked_bytes)
    parts = _open(file)
    builder = DocumentBuilder()
    body = _Body(builder, parts)
    body.add(parts.body)
    yield builder.build(file.name, title=parts.title or body.title, metadata=parts.metadata)


@dataclass(frozen=True)
class _Parts:
    body: Any
    styles: Styles
    numbering: Numbering
    title: str
    metadata: Mapping[str, MetadataValue]


def _check_package(file: SourceFile, max_unpacked_bytes: int) -> None:
    with file.path.open("rb") as stream:
        if stream.read(len(_OLE)) == _OLE:
            raise UnreadableDocumentError(
                file.name, "is encrypted, or of a version of Word before 2007"
            )
        try:
            with zipfile.ZipFile(stream) as package:
                unpacked_bytes = sum(entry.file_size for entry in package.infolist())
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise _damaged(file, error) from error
    # No more than it says comes out of an entry, so what is said can be believed.
    if unpacked_bytes > max_unpacked_bytes:
        raise UnreadableDocumentError(
            file.name,
            f"is too large: unpacked it has {unpacked_bytes:,} bytes, and may have "
            f"{max_unpacked_bytes:,}",
        )


def _open(file: SourceFile) -> _Parts:
    try:
        document = docx.Document(str(file.path))
        numbering = _related(document.part, RELATIONSHIP_TYPE.NUMBERING)
        # python-docx makes up properties for a file without.
        has_properties = _related(document.part.package, RELATIONSHIP_TYPE.CORE_PROPERTIES)
        properties = document.core_properties if has_properties is not None else None
        return _Parts(
            document.element.body,
            Styles(document.styles.element),
            Numbering(numbering.element if isinstance(numbering, XmlPart) else None),
            properties.title if properties is not None else "",
            _metadata(properties) if properties is not None else {},
        )
    except _DAMAGED as error:
        raise _damaged(file, error) from error


def _related(origin: Any, kind: str) -> Part | None:  # noqa: ANN401 - a part or the package
    for relationship in origin.rels.values():
        if relationship.reltype == kind and not relationship.is_external:
            target: Part = relationship.target_part
            return target
    return None


def _damaged(file: SourceFile, error: BaseException) -> UnreadableDocumentError:
    # Where the file lies on this machine is nothing for those who sent it.
    reason = " ".join(str(error).replace(str(file.path), "it").split())
    return UnreadableDocumentError(file.name, f"is damaged, or no DOCX file: {reason:.200}")


class _Body:
    """Walks the body's paragraphs and tables, and what they are wrapped in."""

    def __init__(self, builder: DocumentBuilder, parts: _Parts) -> None:
        self._builder = builder
        self._styles = parts.styles
        self._numbering = parts.numbering
        self.title = ""

    def add(self, element: Any) -> None:  # noqa: ANN401 - lxml's elements
        for child in element:
            if child.tag == _PARAGRAPH:
                self._add_paragraph(child)
            elif child.tag == _TABLE:
                self._add_table(child)
            elif child.tag not in _LEFT_OUT:
                self.add(child)

    def _add_paragraph(self, paragraph: Any) -> None:  # noqa: ANN401
        style = self._styles.of(paragraph)
        text = _text(paragraph).strip()
        if text and not style.in_contents:
            mark = self._numbering.next_mark(style.numbering)
            if style.is_title and not self.title:
                self.title = text
            if style.level:
                line = f"{mark}{text}".replace("\n", " ")
                self._builder.add("heading", line, level=style.level)
            else:
                kind: BlockKind = "list_item" if mark else "paragraph"
                self._builder.add(kind, mark + text)
        for box in _inside(paragraph, _TEXT_BOX):
            self.add(box)

    def _add_table(self, table: Any) -> None:  # noqa: ANN401
        rows = [list(_inside(row, qn("w:tc"))) for row in _inside(table, qn("w:tr"))]
        if max(map(len, rows), default=0) < 2:
            for row in rows:
                for cell in row:
                    self.add(cell)
            return
        lines = (" | ".join(map(_cell_text, row)) for row in rows)
        self._builder.add("table", "\n".join(line for line in lines if line.strip(" |")))


def _inside(element: Any, tag: str) -> Iterator[Any]:  # noqa: ANN401
    """Yield the nearest elements of a kind below an element, whatever they are wrapped in."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag not in _LEFT_OUT:
            yield from _inside(child, tag)


def _text(element: Any) -> str:  # noqa: ANN401
    """Return the text of a paragraph without that of its text boxes and hidden runs."""
    parts = []
    for child in element:
        if child.tag in _TEXT:
            parts.append(child.text or "")
        elif child.tag in _BREAKS:
            parts.append(_BREAKS[child.tag])
        elif child.tag not in _LEFT_OUT and child.tag != _TEXT_BOX and not _is_hidden(child):
            parts.append(_text(child))
    return "".join(parts)


def _is_hidden(run: Any) -> bool:  # noqa: ANN401
    return is_on(run.find(f"{qn('w:rPr')}/{qn('w:vanish')}"))


def _cell_text(cell: Any) -> str:  # noqa: ANN401
    texts = (" ".join(_text(paragraph).split()) for paragraph in cell.iter(_PARAGRAPH))
    return " ".join(text for text in texts if text)


def _metadata(properties: CoreProperties) -> dict[str, MetadataValue]:
    metadata: dict[str, MetadataValue] = {}
    for name in ("author", "subject", "keywords", "category", "language"):
        if value := getattr(properties, name):
            metadata[name] = value
    for name in ("created", "modified"):
        if (moment := getattr(properties, name)) is not None:
            metadata[name] = moment.date().isoformat()
    return metadata
