"""SIGINT and SIGTERM as values to loop over."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_CLOSED: Final = b"\0"  # no signal has this number


class SignalInbox:
    """Collects SIGINT and SIGTERM from ``with`` to :meth:`close`; for the main thread.

    The kernel may hand a signal to any thread, and a main thread that waits in a queue is then not
    woken by it. Python's wake-up descriptor is written to at once, whichever thread it is.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def __iter__(self) -> Iterator[signal.Signals]:
        """Wait for each signal, until the inbox is closed."""
        while (byte := self._reader.recv(1)) != _CLOSED:
            if byte[0] in _SIGNALS:
                yield signal.Signals(byte[0])

    def close(self) -> None:
        """End the loop over the signals; from any thread."""
        self._writer.send(_CLOSED)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor tells."""
