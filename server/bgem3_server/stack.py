"""Triton and the HTTP service in front of it, as one thing that starts, stops and ends."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Protocol


class Part(Protocol):
    """What runs in the background until it is stopped, or fails.

    Attributes:
        ended: Done when nothing of it is left; fails unless it was asked to stop.
    """

    ended: Future[None]

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Let requests in flight finish and end; returns at once."""

    def kill(self) -> None:
        """End now; returns at once."""


class Stack:
    """The service before Triton at a stop, so that no request that was accepted fails.

    Attributes:
        ended: Done when nothing of both is left; fails with what failed first.
    """

    def __init__(self, triton: Part, service: Part | None) -> None:
        """Put the two together; without a service it is Triton alone."""
        self.ended: Future[None] = Future()
        self._triton = triton
        self._service = service
        self._parts = [triton] if service is None else [triton, service]
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        for part in self._parts:
            part.ended.add_done_callback(self._part_ended)

    def start(self) -> None:
        """Start both."""
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        """Stop the service and, when it has ended, Triton; returns at once."""
        (self._service or self._triton).stop()

    def kill(self) -> None:
        """End both now; returns at once."""
        for part in self._parts:
            part.kill()

    def _part_ended(self, future: Future[None]) -> None:
        with self._lock:
            self._error = self._error or future.exception()
            left = [part for part in self._parts if not part.ended.done()]
            last = not left and not self.ended.done()
            if last and self._error is not None:
                self.ended.set_exception(self._error)
            elif last:
                self.ended.set_result(None)
        for part in left:
            part.stop()
