"""The lines of a PDF's pages, as PDFium finds them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from bgem3_retrieval.documents.readers.characters import is_unspaced

# What PDFium puts in place of a hyphen at the end of a line, and the line end with it.
_HYPHEN: Final = "\x02"
_LAST_CODE_POINT: Final = 0x10FFFF
_NARROW: Final = frozenset("ijlft.,:;'!|()[]")
_WIDE: Final = frozenset("abcdeghnopqsuvwxyzmABCDEFGHKLMNOPQRSTUVWXYZ0123456789=<>+")
_SAMPLES: Final = 5


@dataclass(frozen=True)
class Line:
    """A line of a page.

    Attributes:
        text: Without the hyphen that divides its last word.
        page: The page's number, from 1.
        left: Where it begins, in points from the left.
        right: Where it ends.
        bottom: Where it stands, in points from below.
        size: Its font's, in points.
        is_fixed: Whether all its letters are equally wide, as those of code are; None where it has
            no letters to tell by.
        is_hyphenated: Whether its last word goes on in the next line.
    """

    text: str
    page: int
    left: float
    right: float
    bottom: float
    size: float
    is_fixed: bool | None = None
    is_hyphenated: bool = False


def page_lines(page: pdfium.PdfPage, number: int) -> list[Line]:
    """Return the lines of a page, in the order in which they are read.

    Args:
        page: The page.
        number: Its number.
    """
    text_page = page.get_textpage()
    try:
        return list(_lines(text_page, number))
    finally:
        text_page.close()


def _lines(text_page: pdfium.PdfTextPage, page: int) -> Iterator[Line]:
    raw = text_page.raw
    characters = [
        _character(pdfium_c.FPDFText_GetUnicode(raw, index))
        for index in range(text_page.count_chars())
    ]
    begin = 0
    for end, character in enumerate([*characters, "\n"]):
        if character in ("\n", _HYPHEN):
            line = _line(text_page, characters[begin:end], begin, page, character == _HYPHEN)
            if line is not None:
                yield line
            begin = end + 1


def _line(
    text_page: pdfium.PdfTextPage, characters: list[str], begin: int, page: int, hyphenated: bool
) -> Line | None:
    seen = [index for index, character in enumerate(characters, begin) if not character.isspace()]
    if not seen:
        return None
    samples = seen[:: max(1, len(seen) // _SAMPLES)]
    left, bottom, *_ = text_page.get_charbox(seen[0], loose=True)
    right = text_page.get_charbox(seen[-1], loose=True)[2]
    sizes = sorted(_size(text_page, index) for index in samples)
    return Line(
        text="".join(characters).strip(),
        page=page,
        left=left,
        right=right,
        bottom=_baseline(text_page, seen[0], bottom),
        size=sizes[len(sizes) // 2],
        is_fixed=_is_fixed(text_page, characters, begin),
        is_hyphenated=hyphenated,
    )


def _character(code: int) -> str:
    if code > _LAST_CODE_POINT:
        return "\ufffd"
    character = chr(code)
    # Fonts without a table of their characters give anything.
    return " " if character < " " and character not in ("\n", _HYPHEN) else character


def _baseline(text_page: pdfium.PdfTextPage, index: int, bottom: float) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    found = pdfium_c.FPDFText_GetCharOrigin(text_page.raw, index, x, y)
    return y.value if found else bottom


def _size(text_page: pdfium.PdfTextPage, index: int) -> float:
    """Return a character's size as it is shown: programs scale fonts in two places."""
    size = float(pdfium_c.FPDFText_GetFontSize(text_page.raw, index))
    matrix = pdfium_c.FS_MATRIX()
    if pdfium_c.FPDFText_GetMatrix(text_page.raw, index, matrix):
        size *= (matrix.c**2 + matrix.d**2) ** 0.5
    return round(size, 1)


def _is_fixed(text_page: pdfium.PdfTextPage, characters: list[str], begin: int) -> bool | None:
    # In Chinese fonts the Latin letters too are equally wide.
    if any(map(is_unspaced, characters)):
        return False
    widths = []
    for kind in (_NARROW, _WIDE):
        places = [index for index, one in enumerate(characters, begin) if one in kind]
        if not places:
            return None
        step = max(1, len(places) // _SAMPLES)
        widths += [_width(text_page, index) for index in places[::step]]
    return max(widths) <= 1.02 * min(widths)


def _width(text_page: pdfium.PdfTextPage, index: int) -> float:
    left, _, right, _ = text_page.get_charbox(index, loose=True)
    return float(right - left)
