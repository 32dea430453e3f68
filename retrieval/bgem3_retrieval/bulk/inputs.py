"""Files and standard input, read line by line."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

from bgem3_retrieval.bulk.records import Line
from bgem3_retrieval.errors import InputFileError

STANDARD_INPUT: Final = "-"
_GZIP_SUFFIX: Final = ".gz"


class Inputs:
    """Some inputs, one after the other; ``-`` is standard input, ``*.gz`` is unpacked.

    Only LF and CR LF end a line: other line separators of Unicode are text. A byte order mark at
    the start of an input is not.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @property
    def total_bytes(self) -> int | None:
        """The size of all inputs on the disk; None where one of them is a pipe or a terminal."""
        sizes = []
        for name in self.names:
            with _opened(name) as stream:
                sizes.append(_remaining_bytes(stream))
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def size_bytes(self, index: int) -> int | None:
        """The size of one input on the disk; None where it is no file."""
        name = self.names[index]
        if name == STANDARD_INPUT:
            return None
        try:
            status = os.stat(name)
        except OSError as error:
            raise InputFileError(f"{name}: cannot be read: {error.strerror}") from error
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def lines(self) -> Iterator[Line]:
        """Yield every line; the whole of it is in memory, and nothing else of the input.

        Raises:
            InputFileError: An input cannot be opened or read.
        """
        done_bytes = 0
        for index in range(len(self.names)):
            line: Line | None = None
            for line in self.lines_of(index, done_bytes):
                yield line
            done_bytes = line.end_bytes if line else done_bytes

    def lines_of(self, index: int, done_bytes: int = 0, after: int = 0) -> Iterator[Line]:
        """Yield the lines of one input.

        Args:
            index: Its place among the inputs.
            done_bytes: Bytes of the inputs before it.
            after: So many lines are left out at the beginning.

        Raises:
            InputFileError: It cannot be opened or read.
        """
        name = self.names[index]
        with _opened(name) as raw:
            yield from _lines(raw, index, name, done_bytes, after)


def display_name(name: str) -> str:
    """Return the input's name for messages and ids."""
    return "<stdin>" if name == STANDARD_INPUT else name


def without_gzip_suffix(name: str) -> str:
    """Return the name that says what is inside."""
    return name.removesuffix(_GZIP_SUFFIX)


def _lines(raw: BinaryIO, index: int, name: str, done_bytes: int, after: int) -> Iterator[Line]:
    source = display_name(name)
    packed = name.endswith(_GZIP_SUFFIX)
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
    number = 0
    read_bytes = 0
    try:
        for number, content in enumerate(stream, 1):
            read_bytes += len(content)
            if number <= after:
                continue
            text = content.removesuffix(b"\n").removesuffix(b"\r")
            if number == 1:
                text = text.removeprefix(codecs.BOM_UTF8)
            end_bytes = done_bytes + (raw.tell() if packed else read_bytes)
            yield Line(source, number, text, end_bytes, index)
    except (OSError, EOFError, zlib.error) as error:
        raise InputFileError(f"{source}: cannot be read after line {number}: {error}") from error


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115 - an OSError of the block is not about opening
    except OSError as error:
        raise InputFileError(f"{name}: cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def _remaining_bytes(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
    except io.UnsupportedOperation:  # standard input may be replaced by something in memory
        return None
    return status.st_size - stream.tell() if stat.S_ISREG(status.st_mode) else None
