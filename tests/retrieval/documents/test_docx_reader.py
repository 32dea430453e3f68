"""What is read of DOCX files."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from document_files import blocks_of, read_all, read_one
from docx.document import Document as Docx
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.reader import ReaderOptions
from bgem3_retrieval.errors import UnreadableDocumentError

Write = Callable[[Docx], Document]


@pytest.fixture
def read_docx(tmp_path: Path) -> Write:
    """Write a DOCX file and read it."""

    def read(document: Docx) -> Document:
        path = tmp_path / "a.docx"
        document.save(str(path))
        return read_one(path)

    return read


def paragraph_xml(inner: str) -> object:
    """A paragraph with this in it."""
    return parse_xml(f"<w:p {nsdecls('w', 'm')}>{inner}</w:p>")


def add_xml(document: Docx, inner: str) -> None:
    """Put a paragraph at the document's end."""
    document.element.body.insert(len(document.element.body) - 1, paragraph_xml(inner))


def test_the_body_is_read_in_its_order(read_docx: Write) -> None:
    """Headings by their styles, lists, tables where they stand; properties are metadata."""
    document = docx.Document()
    document.core_properties.title = ""
    document.core_properties.author = "Ann"
    document.core_properties.created = datetime.datetime(2024, 5, 6, 7, 8)
    document.add_heading("The title", level=0)
    document.add_heading("One", level=1)
    document.add_paragraph("Text\twith a tab\nand a line.")
    document.add_paragraph("")
    document.add_paragraph("item", style="List Bullet")
    document.add_paragraph("first", style="List Number")
    document.add_paragraph("second", style="List Number")
    table = document.add_table(rows=2, cols=3)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{number}"
    table.cell(1, 0).merge(table.cell(1, 1))
    document.add_heading("Two", level=2)
    document.add_paragraph("如何重置密码")
    read = read_docx(document)

    assert [
        ("heading1", "The title"),
        ("heading1", "One"),
        ("paragraph", "Text\twith a tab\nand a line."),
        ("list_item", "- item"),
        ("list_item", "1. first"),
        ("list_item", "2. second"),
        ("table", "c0 | c1 | c2\nc3 c4 | c5"),
        ("heading2", "Two"),
        ("paragraph", "如何重置密码"),
    ] == blocks_of(read)
    assert "The title" == read.title
    assert {"author": "Ann", "created": "2024-05-06"}.items() <= dict(read.metadata).items()


def test_numbers_that_word_counts_are_text(read_docx: Write) -> None:
    """Articles of a contract are found by theirs; a style's level is a heading's."""
    document = docx.Document()
    numbering = document.part.numbering_part.element
    levels = "".join(
        f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{form}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
        for level, form, text in (
            (0, "chineseCounting", "第%1章"),
            (1, "decimal", "%2."),
            (2, "lowerLetter", "%2.%3)"),
        )
    )
    numbering.insert(
        0,
        parse_xml(f'<w:abstractNum {nsdecls("w")} w:abstractNumId="90">{levels}</w:abstractNum>'),
    )
    numbering.append(
        parse_xml(f'<w:num {nsdecls("w")} w:numId="90"><w:abstractNumId w:val="90"/></w:num>')
    )

    def add(level: int, text: str, extra: str = "") -> None:
        add_xml(
            document,
            f'<w:pPr>{extra}<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="90"/></w:numPr>'
            f'<w:outlineLvl w:val="{level if level == 0 else 9}"/></w:pPr>'
            f"<w:r><w:t>{text}</w:t></w:r>",
        )

    for number in range(11):
        add(0, f"总则{number}")
    add(1, "one")
    add(2, "a")
    add(2, "b")
    add(1, "two")
    add(0, "附则")
    add(1, "one again")
    read = blocks_of(read_docx(document))

    assert ("heading1", "第一章 总则0") == read[0]
    assert [
        ("heading1", "第十一章 总则10"),
        ("list_item", "1. one"),
        ("list_item", "1.a) a"),
        ("list_item", "1.b) b"),
        ("list_item", "2. two"),
        ("heading1", "第十二章 附则"),
        ("list_item", "1. one again"),
    ] == read[10:]


def test_what_is_seen_is_read(read_docx: Write) -> None:
    """Links and insertions, not deletions, hidden text, field codes or comments."""
    document = docx.Document()
    run = "<w:r><w:t xml:space='preserve'>{}</w:t></w:r>"
    add_xml(
        document,
        "<w:pPr><w:tabs><w:tab w:val='left' w:pos='1'/></w:tabs></w:pPr>"
        + run.format("one ")
        + f"<w:hyperlink>{run.format('link ')}</w:hyperlink>"
        + f"<w:ins>{run.format('new ')}</w:ins>"
        + "<w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
        + "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
        + "<w:r><w:instrText>PAGE</w:instrText></w:r>"
        + "<m:oMath><m:r><m:t>x=1</m:t></m:r></m:oMath>",
    )
    add_xml(
        document,
        f"<w:r><w:pict><w:txbxContent><w:p>{run.format('box')}</w:p></w:txbxContent></w:pict></w:r>",
    )
    body = document.element.body
    body.insert(
        len(body) - 1,
        parse_xml(
            f"<w:sdt {nsdecls('w')}><w:sdtContent><w:p>{run.format('control')}</w:p>"
            "</w:sdtContent></w:sdt>"
        ),
    )

    assert [
        ("paragraph", "one link new x=1"),
        ("paragraph", "box"),
        ("paragraph", "control"),
    ] == blocks_of(read_docx(document))


def test_cells_merged_downwards_are_read_once(read_docx: Write) -> None:
    """And a table of one column is no table."""
    document = docx.Document()
    table = document.add_table(rows=2, cols=2)
    table.cell(0, 0).merge(table.cell(1, 0)).text = "both"
    table.cell(0, 1).text, table.cell(1, 1).text = "a", "b"
    document.add_table(rows=1, cols=1).cell(0, 0).text = "alone"

    assert [("table", "both | a\n | b"), ("paragraph", "alone")] == blocks_of(read_docx(document))


def test_a_file_without_properties_has_no_metadata(tmp_path: Path, read_docx: Write) -> None:
    """None are made up."""
    document = docx.Document()
    document.add_paragraph("text")
    read_docx(document)
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "_rels/.rels":
                content = content.replace(b"core-properties", b"no-properties")
            new.writestr(name, content)
    read = read_one(path)

    assert ("", {}) == (read.title, read.metadata)


def write_docx(path: Path, text: str = "text") -> bytes:
    """A small file, and its bytes."""
    document = docx.Document()
    document.add_paragraph(text)
    document.save(str(path))
    return path.read_bytes()


def test_what_unpacks_to_more_than_is_allowed_is_refused(tmp_path: Path) -> None:
    """Before it is unpacked."""
    path = tmp_path / "a.docx"
    write_docx(path, "x" * 1_000_000)

    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableDocumentError, match="is too large: unpacked it has"):
        read_all(path, ReaderOptions(max_unpacked_bytes=1_000_000))


def test_files_that_are_not_docx_are_refused(tmp_path: Path) -> None:
    """Encrypted and old files are told apart from damaged ones."""
    path = tmp_path / "a.docx"
    content = write_docx(path)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "text")
    reasons = []
    for damaged in (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more",
        content[: len(content) // 2],
        b"text",
        other.getvalue(),
        content.replace(b"PK\x01\x02", b"PK\x01\x03", 1),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableDocumentError) as raised:
            read_all(path)
        reasons.append(raised.value.reason)

    assert "is encrypted, or of a version of Word before 2007" == reasons[0]
    assert all(reason.startswith("is damaged, or no DOCX file") for reason in reasons[1:])


def test_a_file_without_text_is_refused(tmp_path: Path) -> None:
    """Pictures are no text."""
    path = tmp_path / "a.docx"
    write_docx(path, " ")

    with pytest.raises(UnreadableDocumentError, match="has no text"):
        read_all(path)


def test_lists_can_be_left_by_a_paragraph(read_docx: Write) -> None:
    """Number 0 takes it out of its style's list."""
    document = docx.Document()
    paragraph = document.add_paragraph("no item", style="List Bullet")
    paragraph._p.get_or_add_pPr().append(
        parse_xml(f'<w:numPr {nsdecls("w")}><w:numId w:val="0"/></w:numPr>')
    )

    assert qn("w:numPr") == paragraph._p.pPr[-1].tag
    assert [("paragraph", "no item")] == blocks_of(read_docx(document))
