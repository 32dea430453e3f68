"""One run of ``tritonserver``, from its start to the last trace of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bgem3_server.errors import ReadyTimeoutError, StartError
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.command import TritonCommand
from bgem3_server.triton.key import hide_in_command_line
from bgem3_server.triton.log import (
    LogCollector,
    LogLine,
    last_words,
    says_drained,
    start_failure,
)
from bgem3_server.triton.probe import Health, Probe, ServedModel
from bgem3_server.triton.session import kill_session, listening_ports, remove_shared_memory

_POLL_SECONDS: Final = 0.05
# With a dead Python process Triton waits for its whole exit timeout after the last request is
# answered. A model in good health is unloaded in less than this; Triton looks once a second.
_UNLOAD_SECONDS: Final = 4.0
_BIND_SECONDS: Final = 2.0
_LOG_END_SECONDS: Final = 5.0


class TritonProcess:
    """A running ``tritonserver`` in a session of its own.

    The thread that makes it must outlive it: the kernel ends Triton with that thread.

    Attributes:
        key_problem: Why the key is still in Triton's command line; None once it is not.
    """

    def __init__(
        self, command: TritonCommand, settings: ServeSettings, on_log: Callable[[LogLine], None]
    ) -> None:
        self.command = command
        self._settings = settings
        self._on_log = on_log
        self._drained = threading.Event()
        self._signalling = threading.Lock()  # of the two below: signals come from other threads
        self._asked_to_end = False
        self._reaped = False
        self.key_problem: OSError | None = None
        self._process = subprocess.Popen(
            [
                *_script("leash.py"),
                str(os.getpid()),
                *command.arguments,
            ],
            env=command.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._guard = self._start_guard()
        except OSError:
            self._process.kill()
            self._process.wait()
            raise
        assert self._process.stdout is not None
        self._log = LogCollector(self._process.stdout, self._read_line)
        self.probe = Probe(command, session=self.pid, settings=settings)

    @property
    def pid(self) -> int:
        """The process, and the session of it and of its models' processes."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Tell whether Triton is gone; its models' processes may not be."""
        # It stays a zombie until `stop`, so that its id, their session's, is not given away.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is not None

    def wait_ready(self, interrupted: Callable[[], bool]) -> ServedModel | None:
        """Wait until the models are loaded and one text has gone through them.

        Returns:
            What is served; None when ``interrupted()`` became true before.

        Raises:
            StartError: Triton ended, refuses the text, or is not ready in time; see its subtypes.
        """
        deadline = time.monotonic() + self._settings.ready_timeout_seconds
        model: ServedModel | None = None
        is_hidden = False
        while not interrupted():
            if not is_hidden and self._log.lines:
                is_hidden = True  # Triton has read its options before it says anything
                if self.command.key is not None:
                    self._hide_key(self.command.key)
            if self.has_ended():
                self.stop(drain_seconds=0)
                raise start_failure(self._log.lines, _exit_text(self._process.wait()))
            model = model or self.probe.served_model()
            if model is not None:
                finding = self.probe.check()
                if finding.health is Health.WELL and self._has_its_ports():
                    return model
                if finding.health is Health.SICK:
                    raise StartError(f"Triton is up, but fails at its first text: {finding.detail}")
            if time.monotonic() > deadline:
                raise ReadyTimeoutError(
                    f"Triton was not ready after {self._settings.ready_timeout_seconds:g} s; "
                    "a large model may need a longer --ready-timeout-seconds"
                )
            time.sleep(_POLL_SECONDS)
        return None

    def terminate(self) -> None:
        """Ask Triton to finish the requests in flight and end; returns at once."""
        with self._signalling:
            if not self._asked_to_end and not self._reaped:
                self._asked_to_end = True
                os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End Triton, and any :meth:`stop` that is waiting for it; returns at once."""
        with self._signalling:
            if not self._reaped:
                os.kill(self.pid, signal.SIGKILL)

    def stop(self, drain_seconds: float) -> bool:
        """End Triton and remove every trace of it: processes and shared memory.

        Once that is done, further calls do nothing.

        Args:
            drain_seconds: How long requests in flight may take to finish; 0 kills at once.

        Returns:
            Whether all requests in flight were answered.

        Raises:
            StopError: A process cannot be killed.
        """
        if self._reaped:
            return self._drained.is_set()
        if drain_seconds > 0:
            self.terminate()
            if self._ends_within(drain_seconds, or_when=self._drained.is_set):
                self._ends_within(_UNLOAD_SECONDS)
        self.probe.close()
        kill_session(self.pid)
        with self._signalling:
            self._process.wait()
            self._reaped = True
        self._guard.kill()
        self._guard.wait()
        remove_shared_memory(self.command.shared_memory_prefix)
        # The pipe ends with the last process that holds it; all of them are gone.
        self._log.finish(_LOG_END_SECONDS)
        return self._drained.is_set()

    def ending(self) -> str:
        """Return, after :meth:`stop`, how Triton ended and what it printed last."""
        return ": ".join([_exit_text(self._process.wait()), *last_words(self._log.lines, 1)])

    def _start_guard(self) -> subprocess.Popen[bytes]:
        limit_seconds = self._settings.stop_timeout_seconds + _UNLOAD_SECONDS
        return subprocess.Popen(
            [
                *_script("guard.py"),
                *map(str, (os.getpid(), self.pid, limit_seconds)),
                self.command.shared_memory_prefix,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither a Ctrl-C nor the end of Triton's session is for it
        )

    def _hide_key(self, key: str) -> None:
        try:
            hide_in_command_line(self.pid, key)
        except OSError as error:
            self.key_problem = error

    def _has_its_ports(self) -> bool:
        """Tell whether Triton got all its ports: it answers on one before it binds the next.

        Where one is taken it ends. Where it does not end, and one is not bound, that port was
        switched off by an option passed through.
        """
        addresses = self.command.addresses
        ports = {addresses.grpc_port, addresses.http_port, addresses.metrics_port}
        self._ends_within(_BIND_SECONDS, or_when=lambda: ports <= listening_ports(self.pid))
        return not self.has_ended()

    def _ends_within(self, seconds: float, or_when: Callable[[], bool] = lambda: False) -> bool:
        deadline = time.monotonic() + seconds
        while not (self.has_ended() or or_when()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _read_line(self, line: LogLine) -> None:
        if says_drained(line):
            self._drained.set()
        self._on_log(line)


def _script(name: str) -> tuple[str, ...]:
    """Return the command for a script beside this file, without any package."""
    return (sys.executable, "-I", "-S", str(Path(__file__).with_name(name)))


def _exit_text(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit status {status}"
