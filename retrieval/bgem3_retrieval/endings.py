"""How a command ends that is stopped from outside, as shells expect it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def ending_as_told(interrupted: str = "interrupted") -> Iterator[None]:
    """End the process with 130 when it is interrupted, and with 141 when nobody reads its output.

    Args:
        interrupted: What is said at Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        click.echo(interrupted, err=True)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The interpreter flushes what is left at its end: without another complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
