"""Triton's log: collected line by line, and read for the reason of a failure.

Triton gives the reasons of a failed start nowhere else, so its text is read here, and only here;
everything else tells failures apart by the types of ``bgem3_server.errors``.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from typing import IO, Final

from bgem3_server.errors import ModelLoadError, PortInUseError, StartError

_KEPT_LINES: Final = 2000
_LONGEST_LINE_BYTES: Final = 16384


class Severity(IntEnum):
    """How bad a line is; the names are Triton's."""

    INFO = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class LogLine:
    """One line; ``message`` is without Triton's prefix, quotes and escapes."""

    severity: Severity
    message: str
    raw: str
    from_triton: bool
    """False for what Python models and libraries print, and for the tables."""


# I1122 09:19:28.340876 6863 server.cc:631] "message, quoted and escaped since 24.x"
_PREFIX: Final = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] +(.*)")
_SEVERITIES: Final = {
    "I": Severity.INFO,
    "W": Severity.WARNING,
    "E": Severity.ERROR,
    "F": Severity.ERROR,
}
_ESCAPES: Final = {r"\n": "\n", r"\t": "\t", r"\"": '"', r"\\": "\\"}

# What every start on a machine without a GPU says; it frightens, and means nothing there.
_NOISE: Final = re.compile(r"CudaDriverHelper has not been initialized")

_MODEL_FAILED: Final = re.compile(r"failed to load '([^']+)' version \d+: (.*)", re.DOTALL)
_MODEL_UNREADABLE: Final = re.compile(r"Poll failed for model directory '([^']+)': (.*)", re.DOTALL)
_DEPENDENCY: Final = re.compile(r"ensemble '([^']+)' (.*)", re.DOTALL)
_CONFIG_SYNTAX: Final = re.compile(r"Error parsing text-format inference\.ModelConfig: (.*)")
_PORT_IN_USE: Final = re.compile(r"failed to start (\w+) service: .*'(\S+)' already in use", re.I)
_STATUS: Final = re.compile(r"^Internal( error)?(: | - )")
_FRAMES: Final = re.compile(r"\n\nAt:\n\s*(.+?)\((\d+)\)")
# What follows a mistake on the command line, 400 lines long.
_USAGE: Final = "Usage: tritonserver [options]"
_DRAINED: Final = "All models are stopped"
_FINAL_ERROR: Final = re.compile(r"^error: (.*)")


def parse_line(raw: str) -> LogLine:
    """Read one line of the log."""
    match = _PREFIX.match(raw)
    if match is None:
        return LogLine(Severity.INFO, raw, raw, from_triton=False)
    message = match[2].strip()
    if len(message) >= 2 and message[0] == message[-1] == '"':
        message = re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), message[1:-1])
    return LogLine(_SEVERITIES[match[1]], message, raw, from_triton=True)


def says_drained(line: LogLine) -> bool:
    """Tell whether Triton, asked to stop, has answered all requests that were in flight."""
    return line.from_triton and line.message.startswith(_DRAINED)


def start_failure(lines: Iterable[LogLine], exit_text: str) -> StartError:
    """Return why a start failed, from the log that it left.

    Args:
        lines: The whole log, or its last lines.
        exit_text: How the process ended, in words; all that is said when the log says nothing.
    """
    lines = list(lines)
    for line in lines:
        if port := _PORT_IN_USE.search(line.message):
            return PortInUseError(f"cannot listen on {port[2]} ({port[1]}): already in use")
    reasons = _failed_models(lines)
    if reasons:
        return ModelLoadError(reasons)
    errors = [line.message for line in lines if line.severity is Severity.ERROR]
    final = [match[1] for line in lines if (match := _FINAL_ERROR.match(line.message))]
    said = errors + final or last_words(takewhile(lambda line: line.message != _USAGE, lines))
    return StartError("\n  ".join([f"Triton {exit_text} before it was ready:", *said[-5:]]))


def last_words(lines: Iterable[LogLine], count: int = 5) -> list[str]:
    """Return what was last printed by something else than Triton's own log, tables left out."""
    printed = [
        line.message for line in lines if not line.from_triton and line.message.strip("+-| ")
    ]
    return [line for line in printed if not line.startswith(("|", "+"))][-count:]


def _failed_models(lines: list[LogLine]) -> dict[str, str]:
    """Return the models that failed for a reason of their own, not for another's."""
    reasons: dict[str, str] = {}
    dependants: dict[str, str] = {}
    syntax: str | None = None
    for number, line in enumerate(lines):
        if match := _CONFIG_SYNTAX.search(line.message):
            syntax = match[1]
        elif match := _MODEL_FAILED.search(line.message):
            reasons[match[1]] = _reason(match[2], lines[:number])
        elif match := _MODEL_UNREADABLE.search(line.message):
            reasons[match[1]] = f"{match[2]}: {syntax}" if syntax else match[2]
            syntax = None
        elif line.severity is Severity.ERROR and (match := _DEPENDENCY.search(line.message)):
            dependants[match[1]] = match[2]
    return reasons or dependants


def _reason(text: str, before: list[LogLine]) -> str:
    """Return a model's error as one would tell it: no status, one place in the source."""
    frame = _FRAMES.search(text)
    said = _STATUS.sub("", text[: frame.start()] if frame else text).strip()
    if frame:
        return f"{said} ({frame[1]}:{frame[2]})"
    if said.startswith("Stub process"):
        # The process of the model died; why, it may have printed.
        return "\n    ".join([f"{said} It died while loading.", *last_words(before)])
    return said


class LogCollector:
    """Reads a process's output to its end, keeps the last lines and passes each on."""

    def __init__(self, stream: IO[bytes], sink: Callable[[LogLine], None]) -> None:
        self._stream = stream
        self._sink = sink
        self._lines: deque[LogLine] = deque(maxlen=_KEPT_LINES)
        self._thread = threading.Thread(target=self._collect, name="triton-log", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[LogLine]:
        """The lines so far, oldest first."""
        return list(self._lines)

    def finish(self, timeout_seconds: float) -> None:
        """Wait until all has been read: until every process that holds the pipe is gone."""
        self._thread.join(timeout_seconds)

    def _collect(self) -> None:
        with self._stream:
            while raw := self._stream.readline(_LONGEST_LINE_BYTES):
                line = parse_line(raw.decode("utf-8", "replace").rstrip("\r\n"))
                if _NOISE.search(line.message):
                    continue
                self._lines.append(line)
                # A full disk or a closed terminal costs lines of the log, never the service:
                # Triton would block on a pipe that nobody reads.
                with suppress(OSError):
                    self._sink(line)
