"""How fast Triton works, as far as the answers tell."""

from __future__ import annotations

import math
from typing import Final

_MEMORY_SECONDS: Final = 5.0
_ASSUMED_TOKENS_PER_SECOND: Final = 2000.0
_LEAST_SECONDS: Final = 0.02


class Pace:
    """Tokens a second while there was work, the last few seconds counting most."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self._since = 0.0

    @property
    def measured(self) -> bool:
        """Whether there was enough work to tell."""
        return self._seconds >= _LEAST_SECONDS

    @property
    def tokens_per_second(self) -> float:
        """The rate; an assumed one until something was measured."""
        if not self.measured:
            return _ASSUMED_TOKENS_PER_SECOND
        return self._tokens / self._seconds

    def begin(self, now_seconds: float) -> None:
        """Work begins after there was none."""
        self._since = now_seconds

    def record(self, tokens: int, now_seconds: float) -> None:
        """So many tokens are done, at this moment."""
        elapsed = max(now_seconds - self._since, 0.0)
        self._since = now_seconds
        kept = math.exp(-elapsed / _MEMORY_SECONDS)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + elapsed
