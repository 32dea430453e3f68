"""When requests go to the fallback, and when they come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

# One that fails alone is sent to the fallback by itself; so many in a row need not be tried first.
_FAILURES: Final = 3
# Who is lost again so soon must be well for longer the next time.
_RELAPSE_SECONDS: Final = 60.0
_LONGEST_HOLD: Final = 16


class Switch:
    """Where requests go: to the primary, or to the fallback while the primary is lost.

    The primary is lost when its probes say so, or when some requests in a row did not reach it.
    It gets the requests back when its probes were answered for some time without a break; twice as
    long each time when it was lost again within a minute. A fallback that cannot be used changes
    nothing.

    All methods run in one event loop.

    Attributes:
        on_fallback: Where requests go now.
        usable: Whether the fallback could take them.
        moved: Set while requests go to the fallback: those that wait for the primary go too.
    """

    def __init__(
        self,
        return_seconds: float,
        tell: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at the primary.

        Args:
            return_seconds: How long the primary must be well to get the requests back.
            tell: Called after each change.
            clock: In seconds.
        """
        self.on_fallback = False
        self.usable = False
        self.moved = asyncio.Event()
        self._return_seconds = return_seconds
        self._hold_seconds = return_seconds
        self._tell = tell
        self._clock = clock
        self._lost = False
        self._failures = 0
        self._well_since_seconds: float | None = None
        self._returned_seconds = -math.inf

    @property
    def primary_answers(self) -> bool:
        """Whether the primary's last probe was answered, though it may not have got work back."""
        return not self._lost or self._well_since_seconds is not None

    def request_answered(self) -> None:
        """A request was answered by the primary."""
        self._failures = 0

    def request_failed(self) -> None:
        """A request did not reach the primary, which was not there to be asked why."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self.primary_lost()

    def primary_lost(self) -> None:
        """The primary answers nobody."""
        if not self._lost and self._clock() - self._returned_seconds < _RELAPSE_SECONDS:
            self._hold_seconds = min(self._hold_seconds * 2, self._return_seconds * _LONGEST_HOLD)
        elif not self._lost:
            self._hold_seconds = self._return_seconds
        self._lost = True
        self._well_since_seconds = None
        self._settle()

    def primary_answered(self) -> None:
        """A probe of the primary was answered."""
        now = self._clock()
        if self._well_since_seconds is None:
            self._well_since_seconds = now
        if self._lost and (
            not self.on_fallback or now - self._well_since_seconds >= self._hold_seconds
        ):
            self._lost = False
            self._failures = 0
            if self.on_fallback:
                self._returned_seconds = now
        self._settle()

    def primary_missed(self) -> None:
        """A probe of the primary failed: an accident perhaps, but a break in its being well."""
        self._well_since_seconds = None

    def fallback_is(self, *, usable: bool) -> None:
        """The fallback can, or cannot, take requests."""
        self.usable = usable
        self._settle()

    def _settle(self) -> None:
        on_fallback = self._lost and self.usable
        if on_fallback is self.on_fallback:
            return
        self.on_fallback = on_fallback
        if on_fallback:
            self.moved.set()
        else:
            self.moved.clear()
        self._tell()
