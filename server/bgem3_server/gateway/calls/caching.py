"""What a request says about results of other requests, and what its answer says of them.

The words are HTTP's own: ``Cache-Control`` (RFC 9111) and ``Cache-Status`` (RFC 9211).
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Caching(Enum):
    """Which results a request may share with others."""

    SHARED = "shared"
    """It takes what is there, and leaves what it computes."""
    FRESH = "fresh"
    """It takes nothing that was computed before, and leaves what it computes."""
    PRIVATE = "private"
    """It neither takes nor leaves anything, not even while it is computed."""


_NAME: Final = "bgem3"
_FRESH: Final = frozenset({"no-cache", "max-age=0"})


def read_caching(cache_control: str) -> Caching:
    """Return what a ``Cache-Control`` header asks for; other directives mean nothing here."""
    directives = {part.strip().lower() for part in cache_control.split(",")}
    if "no-store" in directives:
        return Caching.PRIVATE
    return Caching.FRESH if directives & _FRESH else Caching.SHARED


def cache_status(caching: Caching, texts: int, cached: int, joined: int) -> str:
    """Return the ``Cache-Status`` header of an answer.

    Args:
        caching: As the request asked.
        texts: How many it had.
        cached: How many of them came from the cache.
        joined: How many were under way already, for another request or in the same one.
    """
    if cached == texts:
        return f"{_NAME}; hit"
    reason = "partial" if cached else "miss"
    if caching is not Caching.SHARED:
        reason = "request"
    return f"{_NAME}; fwd={reason}" + ("; collapsed" if joined else "")
