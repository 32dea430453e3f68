"""What a line of input becomes: a record with a text, or a rejection with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple


@dataclass(frozen=True)
class Position:
    """How far inputs were read: the first ``input`` of them, and ``number`` lines of the next."""

    input: int = 0
    number: int = 0


START: Final = Position()


class Line(NamedTuple):
    """One line of an input, or one row where it has rows.

    A tuple, since there are as many as lines, and a frozen dataclass takes three times as long.

    Attributes:
        source: The input's name, as the user wrote it; ``<stdin>`` for standard input.
        number: Its number in that input; the first is 1.
        content: The line without its end.
        end_bytes: Bytes of all inputs up to its end, compressed ones as they lie on the disk.
        input: The input's place among all inputs; the first is 0.
    """

    source: str
    number: int
    content: bytes
    end_bytes: int
    input: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.number}"

    @property
    def end(self) -> Position:
        """Where reading goes on after it."""
        return Position(self.input, self.number)


class Record(NamedTuple):
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
