"""What a line of input becomes: a record with a text, or a rejection with a reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of an input.

    Attributes:
        source: The input's name, as the user wrote it; ``<stdin>`` for standard input.
        number: Its number in that input; the first is 1.
        content: The line without its end.
        end_bytes: Bytes of all inputs up to its end, compressed ones as they lie on the disk.
    """

    source: str
    number: int
    content: bytes
    end_bytes: int

    def __str__(self) -> str:
        return f"{self.source}:{self.number}"


@dataclass(frozen=True)
class Record:
    """A text to encode, and the name under which its representations are written."""

    line: Line
    id: str
    text: str


@dataclass(frozen=True)
class Rejection:
    """A line that is not encoded, and why."""

    line: Line
    reason: str

    def __str__(self) -> str:
        return f"{self.line}: {self.reason}"
