"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from types import TracebackType
from typing import Final, Self

from retrieval.kept_port import kept_port

_READ_BYTES: Final = 65536
_SLOW_SECONDS: Final = 0.05
_CUT_AFTER_BYTES: Final = 100
# A connection that is closed with this sends a reset.
_RESET: Final = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What the wire does."""

    NONE = "none"
    REFUSED = "refused"
    """Nobody listens, and what is open is closed."""
    RESET = "reset"
    """Every connection is reset, the new ones at once."""
    SILENT = "silent"
    """Bytes are taken, and none come out."""
    SLOW = "slow"
    """Every piece is late."""
    HALF_CLOSED = "half-closed"
    """The answering side has closed its direction, and still takes requests."""
    CUT = "cut"
    """In the middle of an answer the connection is closed."""


class FaultyWire:
    """A port that leads to another; leave the block to close it.

    Attributes:
        address: Where it listens, as host:port.
    """

    def __init__(self, target: str) -> None:
        """Lead to ``target``, as host:port."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._port = kept_port()
        self.address = f"127.0.0.1:{self._port}"
        self._fault = Fault.NONE
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._refuse()
        self._close_all(reset=False)

    @contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        """Have a fault while the block runs."""
        self._fault = fault
        match fault:
            case Fault.REFUSED:
                self._refuse()
                self._close_all(reset=False)
            case Fault.RESET:
                self._close_all(reset=True)
            case Fault.HALF_CLOSED:
                self._half_close_all()
        yield
        self._fault = Fault.NONE
        match fault:
            case Fault.REFUSED:
                self._listen()
            case Fault.SILENT | Fault.HALF_CLOSED:
                # What was swallowed is missing from these for ever.
                self._close_all(reset=True)

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _refuse(self) -> None:
        if self._listener is not None:
            # A thread that waits in `accept` would keep it open.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = listener.accept()
                if self._fault is Fault.RESET:
                    _reset(near)
                    continue
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    _reset(near)
                    continue
                with self._lock:
                    self._open |= {near, far}
                for source, sink, answers in ((near, far, False), (far, near, True)):
                    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(
                        target=self._copy, args=(source, sink, answers), daemon=True
                    ).start()

    def _copy(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_READ_BYTES):
                match self._fault:
                    case Fault.SILENT:
                        continue
                    case Fault.SLOW:
                        threading.Event().wait(_SLOW_SECONDS)
                    case Fault.HALF_CLOSED if answers:
                        sink.shutdown(socket.SHUT_WR)
                        continue
                    case Fault.CUT if answers:
                        sink.sendall(piece[:_CUT_AFTER_BYTES])
                        break
                sink.sendall(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        with self._lock:
            self._open -= {source, sink}

    def _half_close_all(self) -> None:
        with self._lock:
            for one in self._open:
                with suppress(OSError):  # closed meanwhile
                    if one.getsockname()[1] == self._port:
                        one.shutdown(socket.SHUT_WR)

    def _close_all(self, *, reset: bool) -> None:
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    if reset:
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    # Wakes the thread that reads from it, which closes it.
                    one.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
