"""How fast the work goes, and how long it will take."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

_SPAN_SECONDS: Final = 60.0
# Two moments further apart than this say something about speed.
_LEAST_SECONDS: Final = 1.0


@dataclass(frozen=True)
class _Moment:
    seconds: float
    texts: int
    read_bytes: float


class Pace:
    """The rates of the last minute."""

    def __init__(self) -> None:
        self._moments: deque[_Moment] = deque()

    def add(self, seconds: float, texts: int, read_bytes: float) -> None:
        """Note how much was done at a moment.

        Args:
            seconds: On a clock that only goes forward.
            texts: Done so far.
            read_bytes: Of the inputs, done so far.
        """
        moments = self._moments
        moments.append(_Moment(seconds, texts, read_bytes))
        # One older than a minute stays, so that a minute is covered.
        while len(moments) > 2 and moments[1].seconds <= seconds - _SPAN_SECONDS:
            moments.popleft()

    @property
    def texts_per_second(self) -> float | None:
        """None before anything can be said."""
        first, last = self._ends()
        if last.seconds - first.seconds < _LEAST_SECONDS:
            return None
        return (last.texts - first.texts) / (last.seconds - first.seconds)

    def seconds_left(self, total_bytes: int) -> float | None:
        """Return how long the rest takes at this pace; None before anything can be said."""
        first, last = self._ends()
        done_bytes = last.read_bytes - first.read_bytes
        if last.seconds - first.seconds < _LEAST_SECONDS or done_bytes <= 0:
            return None
        rest_bytes = max(total_bytes - last.read_bytes, 0)
        return rest_bytes * (last.seconds - first.seconds) / done_bytes

    def _ends(self) -> tuple[_Moment, _Moment]:
        if not self._moments:
            return _Moment(0, 0, 0), _Moment(0, 0, 0)
        return self._moments[0], self._moments[-1]


def duration(seconds: float) -> str:
    """Return a length of time in words: ``2 h 05 min``, ``3 min 20 s``, ``7 s``."""
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {whole % 60:02} s"
    return f"{whole} s"
