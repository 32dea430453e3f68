"""The process that PDFium runs in: started when it is needed, kept, and replaced when it ends."""

from __future__ import annotations

import atexit
import json
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from bgem3_retrieval.documents.readers import pdf_extraction
from bgem3_retrieval.documents.readers.pdf_extraction import (
    MEMORY_BYTES,
    READY,
    STEP_SECONDS,
    End,
    Piece,
    Unreadable,
    decode,
)
from bgem3_retrieval.errors import MissingLibraryError

_COMMAND: Final = (sys.executable, "-P", "-m", pdf_extraction.__name__)


class PdfProcess:
    """Reads one file at a time, in a process of its own; threads wait for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def extract(self, path: Path) -> list[Piece]:
        """Return what :func:`~bgem3_retrieval.documents.readers.pdf_extraction.extract` yields.

        A file that the process ends of is one that cannot be read.

        Raises:
            MissingLibraryError: The process does not start.
        """
        with self._lock:
            try:
                process = self._process or self._start()
                pieces = self._ask(process, path)
            except BaseException:
                self._end()  # or its next answer would be the rest of this one
                raise
            if pieces and isinstance(pieces[-1], End | Unreadable):
                return pieces
            return [Unreadable(_reason(self._end()))]

    def close(self) -> None:
        """End the process; the next file starts another one."""
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen[str]:
        process = self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        assert process.stdout is not None
        if process.stdout.readline() != READY:
            raise MissingLibraryError(
                "the process that reads PDF files does not start; this shows why: "
                f"{shlex.join(_COMMAND)}"
            )
        return process

    def _ask(self, process: subprocess.Popen[str], path: Path) -> list[Piece]:
        """Return the pieces of a file; without an end where the process has ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        pieces: list[Piece] = []
        try:
            process.stdin.write(f"{json.dumps(str(path.absolute()))}\n")
            process.stdin.flush()
        except BrokenPipeError:
            return pieces
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # it ended in the middle of it
            pieces.append(decode(line))
            if isinstance(pieces[-1], End | Unreadable):
                break
        return pieces

    def _end(self) -> int:
        """End the process, if there is one, and return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        # It may be at work on a file that takes long; one that has ended keeps its own status.
        process.kill()
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        return process.wait()


def _reason(status: int) -> str:
    if sys.platform != "win32" and status == -signal.SIGALRM:
        return f"has a page that takes longer than {STEP_SECONDS} s to read"
    ending = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return (
        f"ended the PDF library ({ending}): it is damaged, or takes more than {MEMORY_BYTES >> 30} "
        "GiB of memory"
    )


PDF_PROCESS: Final = PdfProcess()
"""The one of this process."""

atexit.register(PDF_PROCESS.close)
