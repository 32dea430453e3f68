"""What happens to the HTTP service while it runs; ``str`` of each is a line for people."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bgem3_server.listening import HttpAddress

_LASTING_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Listening:
    """Requests are taken, and answered with 503 until it is ready."""

    address: HttpAddress

    def __str__(self) -> str:
        where = self.address
        here = "" if where.local == where.bound else f" (on this machine {where.local})"
        return f"listening: {where.bound}{here}"


@dataclass(frozen=True)
class ServiceReady:
    """Texts are answered with vectors; after every time when they were not.

    Attributes:
        name: What the model is called.
        demo: Whether it is the demo model, and not BGE-M3.
    """

    name: str
    demo: bool = False

    def __str__(self) -> str:
        return f"ready: model {self.name}" + (" (the demo model, not BGE-M3)" if self.demo else "")


@dataclass(frozen=True)
class ServiceNotReady:
    """Requests are answered with 503."""

    reason: str

    def __str__(self) -> str:
        return f"not ready: {self.reason}"


@dataclass(frozen=True)
class WorkerRestarting:
    """A process of the service failed and is started again after a wait."""

    cause: str
    attempt: int
    delay_seconds: float

    def __str__(self) -> str:
        return (
            f"a process of the HTTP service {self.cause}; restart {self.attempt} in "
            f"{self.delay_seconds:g} s"
        )


@dataclass(frozen=True)
class NoWorkerAnswers:
    """No process of the service has been heard for a while, and callers are told to come again."""

    def __str__(self) -> str:
        return "no process of the HTTP service answers: callers get 503 until one does"


@dataclass(frozen=True)
class ServiceStopping:
    """Requests in flight may finish."""

    def __str__(self) -> str:
        return "stopping: waiting for requests in flight"


@dataclass(frozen=True)
class ServiceStopped:
    """No process of the service is left."""

    drained: bool

    def __str__(self) -> str:
        return "stopped" if self.drained else "stopped by force: requests in flight were cut off"


ServiceState = ServiceReady | ServiceNotReady | ServiceStopping
ServiceEvent = Listening | ServiceState | WorkerRestarting | NoWorkerAnswers | ServiceStopped


class StateChanges:
    """Picks, from states that are told again and again, those that are worth a line.

    What does not last is not: a service that has just begun is not ready either.
    """

    def __init__(self, tell: Callable[[ServiceEvent], None]) -> None:
        """Pass on to ``tell`` what is worth it."""
        self._tell = tell
        self._told: type[ServiceState] | None = None
        self._not_ready_since_seconds: float | None = None

    def see(self, state: ServiceState) -> None:
        """Take notice of a state."""
        now = time.monotonic()
        if not isinstance(state, ServiceNotReady):
            self._not_ready_since_seconds = None
        elif self._not_ready_since_seconds is None:
            self._not_ready_since_seconds = now
        lasting = now - (self._not_ready_since_seconds or 0.0) >= _LASTING_SECONDS
        if type(state) is not self._told and lasting:
            self._told = type(state)
            self._tell(state)
