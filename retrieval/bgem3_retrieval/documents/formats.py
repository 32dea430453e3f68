"""The formats that can be read, and how a file's is told."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

Format: TypeAlias = Literal["text", "markdown", "html", "pdf", "docx", "jsonl", "csv", "parquet"]

SUFFIXES: Final[Mapping[str, Format]] = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
HEAD_BYTES: Final = 8192

# Possessive: a comment ends at its first `-->`, and is not tried with a later one.
_HTML: Final = re.compile(
    rb"\s*+(?:<\?xml[^>]*+>\s*+)?(?:(?><!--.*?-->)\s*+)*+<(?:!doctype\s+html|html\b)", re.I | re.S
)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def format_by_suffix(path: Path) -> Format | None:
    """Return the format that a file's suffix stands for, whatever its case."""
    return SUFFIXES.get(path.suffix.lower())


def format_by_content(head: bytes) -> Format | None:
    """Return the format that a file begins like; None where it looks like none of them.

    Of text, only UTF-8 and what begins with a byte order mark is known: other encodings look like
    any bytes.

    Args:
        head: The file's first `HEAD_BYTES` bytes.
    """
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "docx" if b"[Content_Types].xml" in head or b"word/" in head else None
    if _HTML.match(head.removeprefix(codecs.BOM_UTF8)):
        return "html"
    return "text" if _looks_like_text(head) else None


def _looks_like_text(head: bytes) -> bool:
    if head.startswith(_BYTE_ORDER_MARKS):
        return True
    if not head or _CONTROL.search(head):
        return False
    try:
        # The last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True
