"""What a process of the service tells the one that watches it, line by line."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Final, get_args

from bgem3_server.gateway.process.events import ServiceState

_STATES: Final[dict[str, type[ServiceState]]] = {
    kind.__name__: kind for kind in get_args(ServiceState)
}
_REPORT_SECONDS: Final = 0.5


class Reports:
    """Writes each new state, and the last again and again: silence means that it hangs."""

    def __init__(self, descriptor: int) -> None:
        """Take over the writing end of a pipe."""
        # A parent that does not read must not stop this process.
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._last: ServiceState | None = None
        self._told_at_seconds = 0.0

    def tell(self, state: ServiceState) -> None:
        """Write a state if it is time to."""
        now = time.monotonic()
        if state == self._last and now - self._told_at_seconds < _REPORT_SECONDS:
            return
        self._last, self._told_at_seconds = state, now
        # Nobody reads when the parent hangs or is gone; then the kernel's signal is on its way.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, encode_state(state))


def encode_state(state: ServiceState) -> bytes:
    """Return a state as a line of JSON."""
    return json.dumps([type(state).__name__, asdict(state)]).encode() + b"\n"


def decode_state(line: bytes) -> ServiceState:
    """Read such a line."""
    name, content = json.loads(line)
    return _STATES[name](**content)
