"""What PDFium finds in a file, piece by piece; as a program, for one path a line.

``python -m bgem3_retrieval.documents.readers.pdf_extraction`` is how `pdf_process` runs it: PDFium
cannot be interrupted, and may crash of a file that somebody made for that. The program ends itself
when a step takes too long, whatever PDFium is doing, and has a limited memory.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from bgem3_retrieval.documents.readers.pdf_lines import Line, page_lines

STEP_SECONDS: Final = 30
"""The longest that opening a file, or one page of it, may take."""
FILE_SECONDS: Final = 600
"""The longest that a file may take."""
MEMORY_BYTES: Final = 4 << 30
READY: Final = "ready\n"
"""What the program prints once it can be asked."""

_REASONS: Final[Mapping[int, str]] = {
    pdfium_c.FPDF_ERR_FORMAT: "is damaged, or no PDF file",
    pdfium_c.FPDF_ERR_PASSWORD: "is encrypted: it cannot be read without its password",
    pdfium_c.FPDF_ERR_SECURITY: "is encrypted in a way that is not known",
}


@dataclass(frozen=True)
class Lines:
    """Those of one page."""

    lines: list[Line]


@dataclass(frozen=True)
class DamagedPage:
    """A page that is left out; its number is counted from 1."""

    page: int
    reason: str


@dataclass(frozen=True)
class OutlineEntry:
    """A bookmark: its level and its page are counted from 1."""

    title: str
    level: int
    page: int


@dataclass(frozen=True)
class Properties:
    """What the file says of itself: ``Title``, ``Author`` and others."""

    properties: dict[str, str]


@dataclass(frozen=True)
class Unreadable:
    """The file cannot be read, or not to its end."""

    reason: str


@dataclass(frozen=True)
class End:
    """There is no more of it."""


Piece: TypeAlias = Lines | DamagedPage | OutlineEntry | Properties | Unreadable | End
_PIECES: Final = {
    piece.__name__: piece for piece in (DamagedPage, OutlineEntry, Properties, Unreadable, End)
}


def extract(path: Path) -> Iterator[Piece]:
    """Yield the pieces of a file; the last one is :class:`End` or :class:`Unreadable`."""
    began = time.monotonic()
    try:
        pdf = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        yield Unreadable(_REASONS.get(error.err_code or 0, "cannot be opened as a PDF file"))
        return
    try:
        for number in range(1, len(pdf) + 1):
            if time.monotonic() - began > FILE_SECONDS:
                yield Unreadable(f"takes longer than {FILE_SECONDS} s to read: split it")
                return
            try:
                page = pdf[number - 1]
                yield Lines(page_lines(page, number))
            except pdfium.PdfiumError as error:
                yield DamagedPage(number, f"is damaged: {error}")
            else:
                page.close()
        yield from _outline(pdf)
        yield Properties(pdf.get_metadata_dict(skip_empty=True))
        yield End()
    finally:
        pdf.close()


def encode(piece: Piece) -> str:
    """Return a piece as a line of JSON."""
    if isinstance(piece, Lines):
        return json.dumps(["Lines", [astuple(line) for line in piece.lines]])
    return json.dumps([type(piece).__name__, *astuple(piece)])


def decode(line: str) -> Piece:
    """Return the piece that :func:`encode` made a line of.

    JSON and no pickle: what comes from a process that reads files of strangers is not trusted.
    """
    name, *values = json.loads(line)
    if name == "Lines":
        return Lines([Line(*fields) for fields in values[0]])
    piece: Piece = _PIECES[name](*values)
    return piece


def _outline(pdf: pdfium.PdfDocument) -> Iterator[OutlineEntry]:
    for bookmark in pdf.get_toc():
        destination = bookmark.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None:
            yield OutlineEntry(bookmark.get_title(), bookmark.level + 1, page + 1)


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_step(seconds: int) -> None:
    """Have the kernel end this process after so many seconds; 0 for never."""
    if sys.platform != "win32":
        signal.alarm(seconds)


def main() -> None:
    """Answer each path with its pieces, one a line, until there are no more paths."""
    _limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    sys.stdout.write(READY)
    sys.stdout.flush()
    for line in sys.stdin:
        _limit_step(STEP_SECONDS)
        for piece in extract(Path(json.loads(line))):
            _limit_step(0)
            print(encode(piece), flush=True)
            _limit_step(STEP_SECONDS)
        _limit_step(0)


if __name__ == "__main__":
    main()
