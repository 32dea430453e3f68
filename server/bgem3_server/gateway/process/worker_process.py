"""A process of the HTTP service, as the one that watches it sees it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from bgem3_server.gateway.process.events import ServiceState
from bgem3_server.gateway.process.worker_reports import decode_state
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton import leash

_READ_BYTES = 65536


class WorkerProcess:
    """One worker, on a leash: the kernel asks it to stop when this process is gone.

    The thread that makes it must outlive it, and only that thread may use it.

    Attributes:
        pid: Its id.
        state: What it said last; None before it listens.
        began_seconds: When it was started, on the monotonic clock.
        heard_seconds: When it last said something.
    """

    def __init__(
        self, settings: GatewaySettings, listener: socket.socket, environment: dict[str, str]
    ) -> None:
        """Start it.

        Args:
            settings: What it serves by.
            listener: Where it takes requests.
            environment: Variables beside those of this process.
        """
        self._reports, reports = os.pipe()
        os.set_blocking(self._reports, False)
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(Path(leash.__file__)), str(os.getpid())),
                    *(sys.executable, "-P", "-m", "bgem3_server.gateway.process.worker"),
                    *(str(listener.fileno()), str(reports)),
                ],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(), reports),
                start_new_session=True,  # Ctrl-C is for the process that watches
            )
        finally:
            os.close(reports)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:  # how it ended is told later
            pipe.write(pickle.dumps(settings))
        self.pid = self._process.pid
        self.state: ServiceState | None = None
        self.began_seconds = self.heard_seconds = time.monotonic()
        self._partial = b""

    def listen(self) -> None:
        """Read what it has said meanwhile."""
        try:
            heard = os.read(self._reports, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._partial = (self._partial + heard).split(b"\n")
        if lines:
            self.state = decode_state(lines[-1])
            self.heard_seconds = time.monotonic()

    def has_ended(self) -> bool:
        """Tell whether it is gone."""
        return self._process.poll() is not None

    def ending(self) -> str:
        """Return how it ended."""
        status = self._process.wait()
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with exit status {status}"

    def has_drained(self) -> bool:
        """Tell whether it is gone, and no request was cut off."""
        return self.has_ended() and (self.state is None or self._process.wait() == 0)

    def terminate(self) -> None:
        """Ask it to finish the requests in flight and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it now, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Forget it, once it is gone."""
        os.close(self._reports)
