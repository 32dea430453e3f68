"""An output that appears complete, or not at all."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bgem3_retrieval.errors import OutputError


@contextmanager
def output_stream(path: Path | None) -> Iterator[BinaryIO]:
    """Give a stream to write to; None is standard output.

    A file is written beside ``path``, and gets its name when the block ends well; when the block
    raises it goes, and what was at ``path`` is as it was. Standard output and devices are written
    to as they are.

    Raises:
        OutputError: The output cannot be written.
        BrokenPipeError: Whoever read standard output stopped reading.
    """
    name = "standard output" if path is None else str(path)
    with writing(name):
        if path is None:
            with _standard_output() as stream:
                yield stream
        elif path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
        else:
            with _appearing(path.resolve()) as stream:
                yield stream


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn the system's errors in the block, but for a broken pipe, into one about ``name``.

    Raises:
        OutputError: In place of an OSError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"{name} cannot be written: {error.strerror or error}") from error


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    stream: BinaryIO | io.RawIOBase = sys.stdout.buffer
    if not isinstance(stream, io.RawIOBase):
        yield stream
        stream.flush()
        return
    # PYTHONUNBUFFERED: its write() may take a part of what it is given.
    buffered = io.BufferedWriter(stream)
    yield buffered
    buffered.detach()


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
