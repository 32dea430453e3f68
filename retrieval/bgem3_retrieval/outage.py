"""Waiting for a server that is away, and saying so."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from bgem3_client.deadline import Deadline
from bgem3_client.errors import UnavailableError
from bgem3_client.retry_policy import RetryPolicy

Result = TypeVar("Result")

# What passes sooner is nothing that a person has to know.
_CALM_SECONDS: Final = 2.0


class Outage:
    """Says once that a server is away, and once that it is back; threads share it."""

    def __init__(
        self, name: str, say: Callable[[str], None], calm_seconds: float = _CALM_SECONDS
    ) -> None:
        """Make one for a server.

        Args:
            name: What the server is called.
            say: Called with a line for a person, from any thread.
            calm_seconds: So long failures without an answer between them are not said.
        """
        self._name = name
        self._say = say
        self._calm_seconds = calm_seconds
        self._guard = threading.Lock()
        self._failing_since: float | None = None
        self._said = False

    def failed(self, reason: str) -> None:
        """Note that a request failed and will be made again."""
        with self._guard:
            now = time.monotonic()
            if self._failing_since is None:
                self._failing_since = now
            if self._said or now - self._failing_since < self._calm_seconds:
                return
            self._said = True
            self._say(f"waiting for {self._name}: {reason}")

    def answered(self) -> None:
        """Note that a request was answered."""
        with self._guard:
            if self._said:
                self._say(f"{self._name} is back")
            self._failing_since = None
            self._said = False


@dataclass(frozen=True)
class SaidRetries(RetryPolicy):
    """The same tries, with an outage that is told of them."""

    outage: Outage | None = None

    async def run(self, attempt: Callable[[], Awaitable[Result]], deadline: Deadline) -> Result:
        """See the base class."""

        async def noted() -> Result:
            try:
                result = await attempt()
            except UnavailableError as error:
                if self.outage is not None:
                    self.outage.failed(str(error))
                raise
            if self.outage is not None:
                self.outage.answered()
            return result

        return await super().run(noted, deadline)
