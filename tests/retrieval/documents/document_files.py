"""Files made for the tests, and what is read of them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.reader import LeftOut, ReaderOptions, read


def source_file(path: Path) -> SourceFile:
    """The file under a short name."""
    return SourceFile(path, path.name, path.stat().st_size)


def read_all(
    path: Path, options: ReaderOptions | None = None
) -> tuple[list[Document], list[LeftOut]]:
    """A file's documents, and what was left out of them."""
    left_out: list[LeftOut] = []
    return list(read(source_file(path), options, left_out.append)), left_out


def read_one(path: Path) -> Document:
    """The one document of a file that nothing is left out of."""
    (document,), left_out = read_all(path)

    assert [] == left_out
    check_blocks(document)
    return document


def read_bytes(folder: Path, name: str, content: str | bytes) -> Document:
    """The one document of a file with this content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_one(path)


def check_blocks(document: Document) -> None:
    """Blocks are in order, do not overlap, are within the text and have no white space outside."""
    end = 0
    for block in document.blocks:
        text = document.text[block.begin : block.end]

        assert end <= block.begin < block.end <= len(document.text)
        assert text == text.strip()
        assert (block.kind == "heading") == (1 <= block.level <= 6)
        end = block.end
    assert document.blocks


def blocks_of(document: Document) -> list[tuple[str, str]]:
    """Kind and text of each block; the kind of a heading has its level."""
    return [
        (f"{block.kind}{block.level or ''}", document.text[block.begin : block.end])
        for block in document.blocks
    ]


class PdfPage:
    """A page of A4 that text is put on."""

    def __init__(self) -> None:
        self._operators: list[str] = []

    def text(self, x: float, y: float, text: str, size: float = 10, font: str = "F1") -> PdfPage:
        """Put one line; ``F1`` is Helvetica, ``F2`` Courier, ``F3`` takes any character."""
        if font == "F3":
            shown = f"<{text.encode('utf-16-be').hex()}>"
        else:
            shown = "(" + text.translate({ord(c): "\\" + c for c in "()\\"}) + ")"
        self._operators.append(f"BT /{font} {size} Tf {x} {y} Td {shown} Tj ET")
        return self

    def lines(self, x: float, y: float, lines: Sequence[str], font: str = "F1") -> PdfPage:
        """Put lines of 10 points below each other, 12 points apart."""
        for number, line in enumerate(lines):
            self.text(x, y - 12 * number, line, font=font)
        return self

    def content(self) -> bytes:
        """The page's operators."""
        return "\n".join(self._operators).encode("latin-1")


# Each code of F3 is the character that it is in UTF-16.
_TO_UNICODE = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap
/CMapName /Own def /CMapType 2 def
1 begincodespacerange <0000> <ffff> endcodespacerange
1 beginbfrange <0000> <ffff> <0000> endbfrange
endcmap CMapName currentdict /CMap defineresource pop end end"""


def pdf_bytes(
    *pages: PdfPage,
    title: str = "",
    outline: Sequence[tuple[str, int]] = (),
    encrypt: str = "",
    named_characters: bool = True,
) -> bytes:
    """A PDF file.

    Args:
        *pages: Its pages.
        title: Its title.
        outline: The bookmarks: their titles and the places of their pages.
        encrypt: The dictionary that says how it is encrypted.
        named_characters: Whether F3 says which characters its codes are.
    """
    objects: list[bytes] = []

    def add(content: str | bytes) -> int:
        objects.append(content.encode() if isinstance(content, str) else content)
        return len(objects)

    def stream(content: bytes) -> int:
        packed = zlib.compress(content)
        return add(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
        )

    catalog = add("")
    tree = add("")
    helvetica = add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    courier = add("<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>")
    cid = add(
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Own /DW 1000 "
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
    )
    names = f"/ToUnicode {stream(_TO_UNICODE)} 0 R" if named_characters else ""
    own = add(
        f"<< /Type /Font /Subtype /Type0 /BaseFont /Own /Encoding /Identity-H "
        f"/DescendantFonts [{cid} 0 R] {names} >>"
    )
    fonts = f"<< /F1 {helvetica} 0 R /F2 {courier} 0 R /F3 {own} 0 R >>"
    kids = [
        add(
            f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font {fonts} >> /Contents {stream(page.content())} 0 R >>"
        )
        for page in pages
    ]
    objects[tree - 1] = (
        f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>"
    ).encode()
    information = add(f"<< /Title <feff{title.encode('utf-16-be').hex()}> >>")
    root = ""
    if outline:
        first = len(objects) + 2
        last = first + len(outline) - 1
        top = add(f"<< /Type /Outlines /First {first} 0 R /Last {last} 0 R >>")
        for number, (name, page) in enumerate(outline, first):
            following = f"/Next {number + 1} 0 R" if number < last else ""
            add(
                f"<< /Title <feff{name.encode('utf-16-be').hex()}> /Parent {top} 0 R {following} "
                f"/Dest [{kids[page]} 0 R /Fit] >>"
            )
        root = f"/Outlines {top} 0 R"
    objects[catalog - 1] = f"<< /Type /Catalog /Pages {tree} 0 R {root} >>".encode()

    file = bytearray(b"%PDF-1.7\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % place for place in places)
    encryption = f"/Encrypt {encrypt} /ID [<00> <00>]" if encrypt else ""
    file += (
        f"trailer\n<< /Size {len(objects) + 1} /Root {catalog} 0 R /Info {information} 0 R "
        f"{encryption} >>\nstartxref\n{table}\n%%EOF\n"
    ).encode()
    return bytes(file)
