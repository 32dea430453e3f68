"""The moment by which a call must be answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bgem3_client.errors import DeadlineError, InvalidInputError


@dataclass(frozen=True)
class Deadline:
    """A point on the running event loop's clock; ``at_seconds`` None means never."""

    allowed_seconds: float | None
    at_seconds: float | None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline ``seconds`` from now; None for no deadline.

        Raises:
            InvalidInputError: ``seconds`` is not a positive number.
        """
        if seconds is None:
            return cls(None, None)
        if not seconds > 0:
            raise InvalidInputError(
                f"timeout_seconds must be a positive number or None (no limit), not {seconds!r}"
            )
        return cls(seconds, asyncio.get_running_loop().time() + seconds)

    def remaining_seconds(self) -> float | None:
        """Return the time left, 0.001 at least; None without a deadline."""
        if self.at_seconds is None:
            return None
        return max(self.at_seconds - asyncio.get_running_loop().time(), 0.001)

    def leaves(self, seconds: float) -> bool:
        """Whether more than ``seconds`` are left."""
        remaining_seconds = self.remaining_seconds()
        return remaining_seconds is None or remaining_seconds > seconds

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Cancel the block when the deadline passes.

        Raises:
            DeadlineError: The block was cancelled so.
        """
        try:
            async with asyncio.timeout_at(self.at_seconds) as timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise DeadlineError(
                f"no answer within {self.allowed_seconds:g} s: allow more with timeout_seconds "
                "(None: no limit), or pass fewer texts a call"
            ) from error
