"""When a failed request is sent again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from bgem3_client.deadline import Deadline
from bgem3_client.errors import InvalidInputError, UnavailableError

Result = TypeVar("Result")


@dataclass(frozen=True)
class RetryPolicy:
    """Try again after :class:`UnavailableError`, and after nothing else.

    The wait before attempt ``n + 1`` is random between half of and the whole of
    ``initial_backoff_seconds * 2 ** (n - 1)``, ``max_backoff_seconds`` at most, so that clients
    that failed together do not come back together. With the defaults a request waits 0.1, 0.2 and
    0.4 seconds at most. A server that says when there will be room (the HTTP service does) is
    waited for so much longer. ``RetryPolicy(attempts=1)`` never tries again.

    Attributes:
        attempts: Tries in all, the first included.
        initial_backoff_seconds: The longest first wait.
        max_backoff_seconds: The longest wait of all, beside what the server asks for.
    """

    attempts: int = 4
    initial_backoff_seconds: float = 0.1
    max_backoff_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInputError(f"RetryPolicy: attempts must be 1 or more, not {self.attempts}")
        if not 0 <= self.initial_backoff_seconds <= self.max_backoff_seconds:
            raise InvalidInputError(
                "RetryPolicy: 0 <= initial_backoff_seconds <= max_backoff_seconds must hold, not "
                f"{self.initial_backoff_seconds} and {self.max_backoff_seconds}"
            )

    def backoff_seconds(self, attempt: int) -> float:
        """Return how long to wait after failed attempt number ``attempt`` (the first is 1)."""
        doublings = min(attempt - 1, 64)  # more overflow a float
        longest = min(self.initial_backoff_seconds * 2.0**doublings, self.max_backoff_seconds)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    async def run(self, attempt: Callable[[], Awaitable[Result]], deadline: Deadline) -> Result:
        """Await ``attempt()`` until it succeeds, fails for good, or its tries are spent.

        Raises:
            UnavailableError: Every try found the server unavailable, or the next one would start
                after the deadline.
        """
        for number in count(1):
            try:
                return await attempt()
            except UnavailableError as error:
                wait_seconds = self.backoff_seconds(number) + (error.retry_after_seconds or 0)
                if number >= self.attempts or not deadline.leaves(wait_seconds):
                    if number == 1:
                        raise
                    raise UnavailableError(
                        f"{error} (tried {number} times)", error.retry_after_seconds
                    ) from error
            await asyncio.sleep(wait_seconds)
        raise AssertionError("unreachable")
