"""A file that a request brought."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class UploadedFile:
    """A file of a request.

    Attributes:
        path: Where it lies; its name there is ours.
        name: The caller's: the document's source.
        size_bytes: Of all of it, also where it was too large to be kept.
        kept: Whether it is there, and was not too large.
    """

    path: Path
    name: str
    size_bytes: int
    kept: bool
