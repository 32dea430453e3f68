"""The workers of a run: started when they are first needed, and ended however the run ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_bench.errors import WorkerError
from bgem3_bench.results import Failure
from bgem3_bench.systems import System
from bgem3_bench.worker_process import Answer, WorkerCommand, WorkerProcess

Item = TypeVar("Item")

LOAD_TIMEOUT_SECONDS: Final = 1800.0
_FIRST_TEXT: Final = "如何重置密码"


@dataclass
class WorkerRecord:
    """What is known of a worker, over all its starts.

    Attributes:
        loaded: Its answer to the first load; None before.
        startup_seconds: Of each start, until the first text was answered.
        failure: Why it could not be started; it is not tried again.
    """

    loaded: Answer | None = None
    startup_seconds: list[float] = field(default_factory=list)
    failure: WorkerError | None = None


class WorkerPool:
    """Starts workers and hands them out."""

    def __init__(self, checkpoint: Path, threads: int, log_folder: Path) -> None:
        self._checkpoint = checkpoint
        self._threads = threads
        self._log_folder = log_folder
        self._running: dict[str, WorkerProcess] = {}
        self.records: dict[str, WorkerRecord] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all workers; at once where something went wrong."""
        if error is None:
            self.close_all()
        while self._running:
            _, worker = self._running.popitem()
            worker.kill()

    def get(self, system: System) -> WorkerProcess:
        """Return the worker of a system, started and ready.

        Raises:
            WorkerError: It cannot be started, now or at an earlier try.
        """
        record = self.records.setdefault(system.worker_name, WorkerRecord())
        if record.failure is not None:
            raise record.failure
        running = self._running.get(system.worker_name)
        if running is not None and running.is_running:
            return running
        try:
            if isinstance(system.worker, Failure):
                raise WorkerError(system.worker.kind, system.worker.message)
            assert system.worker is not None
            return self._start(system.worker, record)
        except WorkerError as error:
            record.failure = error
            self._end(system.worker_name)
            raise

    def close_all(self) -> None:
        """Let all of them end in order."""
        for name in list(self._running):
            self._running.pop(name).close()

    def _start(self, command: WorkerCommand, record: WorkerRecord) -> WorkerProcess:
        worker = WorkerProcess(command, self._log_folder / f"{command.name}.log")
        self._running[command.name] = worker
        answer = worker.ask(
            "load",
            LOAD_TIMEOUT_SECONDS,
            checkpoint=str(self._checkpoint),
            threads=self._threads,
            max_length=MAX_POSITIONS_TOKENS,
            options=dict(command.options),
        )
        worker.ask("encode", LOAD_TIMEOUT_SECONDS, texts=[_FIRST_TEXT], outputs=["dense"])
        record.startup_seconds.append(time.perf_counter() - worker.started)
        record.loaded = record.loaded or answer
        return worker

    def _end(self, name: str) -> None:
        if name in self._running:
            self._running.pop(name).kill()


def memory_groups(
    systems: Sequence[System], worker_bytes: int, available_bytes: int
) -> list[list[System]]:
    """Cut systems into groups whose workers are in memory together.

    Neighbours in the list, which are much alike, fall into different groups: each group has some
    of the peers and some of ours.

    Args:
        systems: Those with the same worker stay together.
        worker_bytes: About what one worker takes.
        available_bytes: What all of a group may take.
    """
    room = max(1, available_bytes // worker_bytes)
    names = list(dict.fromkeys(system.worker_name for system in systems))
    # As few groups as possible, of about the same size.
    count = -(-len(names) // room)
    parts = [names[number::count] for number in range(count)]
    return [[system for system in systems if system.worker_name in part] for part in parts]
