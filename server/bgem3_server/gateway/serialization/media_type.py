"""Which media type a caller wants, from what ``Accept`` says (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_QUALITY: Final = re.compile(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", re.IGNORECASE)


def best_media_type(accept: str, offered: Sequence[str]) -> str | None:
    """Return the offered type that the caller likes best.

    Of equally liked types the one that is named itself goes before one of ``application/*`` or
    ``*/*``; else the order of ``offered`` decides.

    Args:
        accept: The header's value; empty where there is none, which takes anything.
        offered: In the server's order of preference.

    Returns:
        None where the caller takes none of them.
    """
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offered[0]

    def liking(media_type: str) -> tuple[float, int]:
        """Quality and precision: the most precise range that fits counts."""
        fitting = [(_precision(name, media_type), quality) for name, quality in ranges]
        precision, quality = max(fitting)
        return (quality, precision) if precision else (0.0, 0)

    best = max(offered, key=liking)
    return best if liking(best)[0] > 0 else None


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        if match := _QUALITY.fullmatch(parameter):
            quality = float(match[1])
    return name.strip().lower(), quality


def _precision(media_range: str, media_type: str) -> int:
    """0 where the range does not hold the type."""
    if media_range == media_type:
        return 3
    if media_range == media_type.partition("/")[0] + "/*":
        return 2
    return int(media_range == "*/*")
