"""Sizes of memory as people write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_size(text: str) -> int:
    """Return the bytes that a text such as ``16GiB``, ``24 GB`` or ``1.5gib`` stands for.

    Raises:
        ValueError: It is no size; the message says what one looks like.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size <= 0:
        raise ValueError(
            f"'{text}' is not a size: write a number and a unit, as in 16GiB, 24GB or 512MiB"
        )
    return size


def format_size(size_bytes: int) -> str:
    """Return a size as a person reads it, in the unit that suits it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if abs(size_bytes) >= size:
            return f"{size_bytes / size:.2f} {unit}"
    return f"{size_bytes / 2**10:.1f} KiB"
