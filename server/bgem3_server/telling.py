"""Telling what happens, to a terminal, a file or a pipe that may be gone or full."""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO

import click


def tell(message: object, *, err: bool = False) -> None:
    """Print a line where that is possible.

    A full disk or a closed terminal costs lines of the log, never the service.

    Args:
        message: What is printed.
        err: To standard error instead of standard output.
    """
    with suppress(OSError):
        click.echo(message, err=err)


class ForgivingStream:
    """A stream for log lines that loses those it cannot write: no request fails for its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, where that is possible."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, where that is possible."""
        with suppress(OSError):
            self._stream.flush()
