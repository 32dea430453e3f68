"""What a reader leaves out of a file that it reads all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class LeftOut:
    """A part of a file that is not in its documents.

    Attributes:
        source: The file's name.
        part: Which part of it: ``row 17``, ``page 3``, ``front matter``.
        reason: What is wrong with it.
    """

    source: str
    part: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.part}: {self.reason}"


Report: TypeAlias = Callable[[LeftOut], None]
