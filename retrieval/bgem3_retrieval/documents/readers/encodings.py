"""Bytes made into text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import BinaryIO, Final

import charset_normalizer

from bgem3_retrieval.errors import UnreadableDocumentError

_SAMPLE_BYTES: Final = 256 * 1024
# Longest first: UTF-16's begins UTF-32's.
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What texts that are not Unicode are in, the likelier first where they look equally likely; of
# each family the codec that knows the most characters.
_LEGACY: Final = (
    "gb18030",
    "big5hkscs",
    "cp932",
    "euc_jp",
    "cp949",
    "cp1252",
    "cp1251",
    "cp1250",
    "koi8_r",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
)
# Encodings whose texts are valid ASCII, and mean something else.
_SEVEN_BITS: Final = frozenset({"iso2022_jp", "hz", "utf-7"})
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_SHARE: Final = 0.02


def decoded(source: str, data: bytes, *, declared: str | None = None) -> str:
    """Return a text file's bytes as text: UTF-8 if they are, else what they most likely are.

    Args:
        source: The file's name.
        data: All of it.
        declared: The codec of the encoding that the file itself names, which may be wrong.

    Raises:
        UnreadableDocumentError: They are no text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    _check_text(source, data)
    candidates = [declared, "utf-8"] if declared in _SEVEN_BITS else ["utf-8", declared]
    for candidate in candidates:
        if candidate is not None:
            try:
                return data.decode(candidate)
            except UnicodeDecodeError:
                continue
    sample = _sample(data.splitlines(keepends=True))
    return data.decode(_likely_encoding(source, sample), errors="replace")


def stream_encoding(source: str, stream: BinaryIO) -> str:
    """Return the encoding of a whole text file, read line by line; the stream ends where it was.

    Raises:
        UnreadableDocumentError: It is no text.
    """
    begin = stream.tell()
    head = stream.read(_SAMPLE_BYTES)
    stream.seek(begin)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    _check_text(source, head)
    encoding = "utf-8" if _is_utf8(stream) else ""
    stream.seek(begin)
    if not encoding:
        pieces = iter(lambda: stream.readline(_SAMPLE_BYTES), b"")
        encoding = _likely_encoding(source, _sample(pieces))
        stream.seek(begin)
    return encoding


def _is_utf8(stream: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while piece := stream.read(1 << 20):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _sample(lines: Iterable[bytes]) -> bytes:
    """Return the first lines that say anything of the encoding: those that are not ASCII."""
    sample = bytearray()
    for line in lines:
        if _NOT_ASCII.search(line):
            sample += line
            if len(sample) >= _SAMPLE_BYTES:
                break
    return bytes(sample)


def _likely_encoding(source: str, sample: bytes) -> str:
    as_utf8 = sample.decode(errors="replace")
    damaged = as_utf8.count("\ufffd")
    if damaged * 10 <= sum(character > "\x7f" for character in as_utf8) - damaged:
        return "utf-8"
    matches = list(charset_normalizer.from_bytes(sample, cp_isolation=list(_LEGACY)))
    if not matches:
        raise UnreadableDocumentError(source, "is not text, or in no known encoding")
    best = matches[0].chaos, matches[0].coherence
    equal = {
        name
        for match in matches
        if (match.chaos, match.coherence) == best
        for name in match.could_be_from_charset
    }
    return next(name for name in _LEGACY if name in equal)


def _check_text(source: str, data: bytes) -> None:
    sample = data[:_SAMPLE_BYTES]
    if b"\0" in sample or len(_CONTROL.findall(sample)) > _MAX_CONTROL_SHARE * len(sample):
        raise UnreadableDocumentError(source, "is not text")
