"""A system under test: a process of its own that answers JSON lines."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from bgem3_bench.errors import FAILURE_WORDS, FailureKind, WorkerError
from bgem3_server.triton import leash

Answer = dict[str, Any]

# Where memory runs out, the system under test is what ends, and not whatever is largest.
_KILLED_FIRST: Final = "700"
_CLOSE_SECONDS: Final = 40.0
_TERMINATE_SECONDS: Final = 10.0
_LOG_LINES: Final = 3
_LOG_BYTES: Final = 4096


@dataclass(frozen=True)
class WorkerCommand:
    """How a worker is started.

    Attributes:
        name: Systems with the same worker share its process.
        arguments: The program and its arguments.
        options: Passed on when it loads the model.
        environment: Variables beside this process's own.
    """

    name: str
    arguments: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class WorkerProcess:
    """A running worker, in a session of its own, so that Ctrl-C does not reach it.

    It ends with this process, or rather with the thread that started it, however that ends.
    What it and its libraries print on standard error goes to a log file.
    """

    def __init__(self, command: WorkerCommand, log_file: Path) -> None:
        """Start it.

        Raises:
            WorkerError: It cannot be started.
        """
        self.command = command
        self._log_file = log_file
        self.started = time.perf_counter()
        program = shutil.which(command.arguments[0])
        if program is None:
            raise WorkerError("failed", f"there is no program {command.arguments[0]}")
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid())),
                    *(program, *command.arguments[1:]),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **command.environment},
                start_new_session=True,
            )
        _let_it_be_killed_first(self._process.pid)
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, operation: str, timeout_seconds: float, **fields: Any) -> Answer:
        """Send one request and wait for its answer.

        Args:
            operation: One of the protocol's.
            timeout_seconds: A worker that takes longer is killed.
            fields: What the operation takes.

        Raises:
            WorkerError: It says that it cannot, it ended, or it took too long.
        """
        request = json.dumps({"op": operation, **fields}, ensure_ascii=False) + "\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            line = b""
        else:
            try:
                line = self._answers.get(timeout=timeout_seconds)
            except queue.Empty:
                self.kill()
                raise WorkerError("timeout", f"no answer within {timeout_seconds:.0f} s") from None
        if not line:
            raise WorkerError("died", self._ending())
        answer: Answer = json.loads(line)
        if not answer.get("ok"):
            kind: FailureKind = answer.get("kind", "failed")
            message = str(answer.get("message", "")).strip()
            raise WorkerError(kind if kind in FAILURE_WORDS else "failed", message or "no reason")
        return answer

    def close(self) -> None:
        """Let it end in order; kill it where it does not."""
        if self.is_running:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(b'{"op": "close"}\n')
                self._process.stdin.close()
                self._process.wait(_CLOSE_SECONDS)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.kill()
        self.kill()

    def kill(self) -> None:
        """End it and every process that it started."""
        family = _family(self._process.pid)
        _signal_all(family, signal.SIGTERM)
        _, left = psutil.wait_procs(family, _TERMINATE_SECONDS)
        _signal_all(left, signal.SIGKILL)
        psutil.wait_procs(left, _TERMINATE_SECONDS)
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _ending(self) -> str:
        status = self._process.wait()
        ending = (
            f"was killed by {signal.Signals(-status).name}"
            if status < 0
            else f"ended with exit status {status}"
        )
        if status == -signal.SIGKILL:
            ending += " (the system ran out of memory?)"
        # What it started must not live on, or take memory from the others.
        self.kill()
        return ": ".join([ending, *_last_lines(self._log_file)])


def _let_it_be_killed_first(pid: int) -> None:
    file = Path(f"/proc/{pid}/oom_score_adj")
    if file.exists():
        file.write_text(_KILLED_FIRST, encoding="ascii")


def _family(pid: int) -> list[psutil.Process]:
    """Return a process, its descendants, and what is left in its session."""
    found = {}
    try:
        parent = psutil.Process(pid)
        found = {process.pid: process for process in [parent, *parent.children(recursive=True)]}
    except psutil.NoSuchProcess:
        pass  # its session may still have members
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found.setdefault(process.pid, process)
        except ProcessLookupError:
            continue  # ended meanwhile
    return list(found.values())


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue  # ended meanwhile


def _last_lines(log_file: Path) -> list[str]:
    text = log_file.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [" / ".join(lines[-_LOG_LINES:])] if lines else []
