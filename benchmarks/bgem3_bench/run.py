"""The run: every system on the same work, in rounds, interleaved.

In each round each cell (a mix and a set of outputs) is done by all systems one after the other, in
an order that is drawn anew, with a measurement of the matrix-multiply limit among them: whatever
else the machine does falls on all of them. Where memory does not hold all workers at once they are
cut into groups; then a round is one group after the other, each loaded for its turn, and the limit
is measured in every group.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import psutil

from bgem3_bench.accuracy import compare_files
from bgem3_bench.errors import WorkerError
from bgem3_bench.limit_meter import PRECISIONS, LimitMeter, running_limit_meter
from bgem3_bench.plan import OUTPUT_NAMES, Cell, LatencyCell, Plan, estimated_seconds
from bgem3_bench.pool import WorkerPool, memory_groups
from bgem3_bench.record import LatencyKey, Record, ThroughputKey, failure_of
from bgem3_bench.results import (
    INTERRUPTED,
    Failure,
    LatencyRound,
    Limit,
    Pass,
    Results,
    RunDescription,
)
from bgem3_bench.systems import BEST, REFERENCE, System
from bgem3_bench.worker_process import WorkerProcess

_MEMORY_TIMEOUT_SECONDS: Final = 60.0
_WARM_UP_REQUESTS: Final = 8


class Progress(Protocol):
    """Who is told how far the run is."""

    def begin(self, steps: int, estimated_seconds: float, groups: int) -> None:
        """The run begins, and is guessed to take so long."""

    def step(self, what: str) -> None:
        """One of the steps begins."""

    def failed(self, system: str, what: str, failure: Failure) -> None:
        """A system could not do something, and is not asked for it again."""


class _TimeIsUpError(Exception):
    """The time limit was reached."""


class Run:
    """Carries out a plan."""

    def __init__(self, plan: Plan, log_folder: Path, progress: Progress) -> None:
        """Prepare; nothing runs before :meth:`measure`.

        Args:
            plan: What to measure.
            log_folder: For what the workers print.
            progress: Is told.
        """
        self._plan = plan
        self._progress = progress
        self._log_folder = log_folder
        self._pool = WorkerPool(plan.model.checkpoint, plan.threads, log_folder)
        self._record = Record()
        self._order = random.Random(plan.seed)
        # What each process has seen already, so that it is not slower than the next time.
        self._warm: set[tuple[int, ThroughputKey | LatencyKey]] = set()
        self._groups: list[list[System]] = []
        self._began_seconds = 0.0

    def measure(self) -> Results:
        """Do all of it; with Ctrl-C, or at the time limit, return what there is until then.

        Whatever happens, no process of the run is left.

        Raises:
            WorkerError: The matrix-multiply limit cannot be measured.
        """
        started, load_average = datetime.now(UTC), os.getloadavg()[0]
        self._began_seconds = time.perf_counter()
        notes = []
        try:
            with (
                tempfile.TemporaryDirectory(prefix="bgem3-bench-") as folder,
                running_limit_meter(
                    self._plan.model.shape, self._plan.threads, self._log_folder
                ) as limits,
                self._pool,
            ):
                self._measure_rounds(limits, Path(folder))
        except KeyboardInterrupt:
            notes.append(INTERRUPTED)
        except _TimeIsUpError:
            notes.append("stopped at the time limit")
        return self._record.results(
            self._plan,
            self._pool.records,
            RunDescription(
                version=version("bgem3-triton"),
                threads=self._plan.threads,
                rounds=self._plan.rounds,
                seed=self._plan.seed,
                started=started.isoformat(timespec="seconds"),
                seconds=time.perf_counter() - self._began_seconds,
                load_average=load_average,
                reference=REFERENCE,
                groups=tuple(
                    tuple(dict.fromkeys(system.worker_name for system in group))
                    for group in self._groups
                ),
                complete=not notes,
                notes=tuple(notes),
            ),
        )

    def _measure_rounds(self, limits: LimitMeter, folder: Path) -> None:
        plan = self._plan
        self._groups = memory_groups(
            plan.systems,
            plan.worker_bytes,
            int(psutil.virtual_memory().available * plan.memory_share),
        )
        first = {precision: limits.measure(precision)[0] for precision in PRECISIONS}
        steps = len(plan.cells) * (len(plan.systems) + len(self._groups))
        steps += len(plan.latency_cells) * len(plan.latency_systems)
        self._progress.begin(
            steps * plan.rounds, estimated_seconds(plan, self._groups, first), len(self._groups)
        )
        for number in range(plan.rounds):
            # Each group is first in turn.
            shift = number % len(self._groups)
            for group in self._groups[shift:] + self._groups[:shift]:
                self._measure_group(number, group, limits, folder)
                if len(self._groups) > 1:
                    self._pool.close_all()

    def _measure_group(
        self, number: int, group: Sequence[System], limits: LimitMeter, folder: Path
    ) -> None:
        for cell in self._plan.cells:
            steps: list[Callable[[], None]] = [
                partial(self._measure_pass, number, system, cell, folder) for system in group
            ]
            steps.append(partial(self._measure_limits, number, cell, limits))
            try:
                for step in self._order.sample(steps, len(steps)):
                    self._check_time()
                    step()
            finally:
                self._compare(folder)
        callers = [system for system in self._plan.latency_systems if system in group]
        for latency_cell in self._plan.latency_cells:
            for system in self._order.sample(callers, len(callers)):
                self._check_time()
                self._measure_latency(number, system, latency_cell)

    def _measure_pass(self, number: int, system: System, cell: Cell, folder: Path) -> None:
        key = (system.name, cell.mix.name, cell.outputs)
        self._say(number, f"{cell.mix.name}, {cell.outputs}", system.name)

        def measure(worker: WorkerProcess) -> None:
            self._warm_up(worker, system, cell)
            # The vectors of the first pass are kept, to be compared. Writing them is not timed.
            save = str(_saved(folder, key)) if number == 0 else None
            worker.ask("memory", _MEMORY_TIMEOUT_SECONDS)
            answer = worker.ask(
                "encode",
                self._plan.cell_timeout_seconds,
                **cell.work,
                batch_size=self._record.batch_sizes[key],
                save=save,
            )
            memory = worker.ask("memory", _MEMORY_TIMEOUT_SECONDS)
            self._record.passes.setdefault(key, []).append(
                Pass(
                    round=number,
                    seconds=answer["seconds"],
                    cpu_seconds=answer["cpu_seconds"],
                    tokens=answer["tokens"],
                    computed_tokens=answer["computed_tokens"],
                    attention_tokens=answer["attention_tokens"],
                    peak_bytes=memory["peak_bytes"],
                )
            )

        self._try(key, system, measure)

    def _warm_up(self, worker: WorkerProcess, system: System, cell: Cell) -> None:
        """Let a process see some texts of a cell before it is timed."""
        key = (system.name, cell.mix.name, cell.outputs)
        if key not in self._record.batch_sizes:
            self._record.batch_sizes[key] = self._batch_size(worker, system, cell)
        if (worker.pid, key) not in self._warm:
            self._warm.add((worker.pid, key))
            worker.ask(
                "encode",
                self._plan.cell_timeout_seconds,
                **cell.warm_up,
                batch_size=self._record.batch_sizes[key],
            )

    def _batch_size(self, worker: WorkerProcess, system: System, cell: Cell) -> int | None:
        """Return what a system is to be asked for; the best is looked for once for each mix."""
        if system.batch_size != BEST:
            return system.batch_size
        known = self._record.best_batch_size(system, cell.mix.name)
        if known is not None:
            return known
        answer = worker.ask(
            "tune",
            self._plan.cell_timeout_seconds * len(cell.batch_sizes),
            **cell.work,
            batch_sizes=cell.batch_sizes,
        )
        return int(answer["batch_size"])

    def _measure_limits(self, number: int, cell: Cell, limits: LimitMeter) -> None:
        self._say(number, f"{cell.mix.name}, {cell.outputs}", "matrix-multiply limit")
        for precision in PRECISIONS:
            flop_per_second, kernel = limits.measure(precision)
            self._record.limits.append(
                Limit(
                    round=number,
                    mix=cell.mix.name,
                    outputs=cell.outputs,
                    precision=precision,
                    kernel=kernel,
                    flop_per_second=flop_per_second,
                )
            )

    def _measure_latency(self, number: int, system: System, cell: LatencyCell) -> None:
        key = (system.name, cell.mix.name, cell.outputs, cell.concurrency)
        self._say(number, f"{cell.mix.name}, {cell.concurrency} at a time", system.name)
        request = {"outputs": OUTPUT_NAMES[cell.outputs], "concurrency": cell.concurrency}
        timeout = self._plan.cell_timeout_seconds

        def measure(worker: WorkerProcess) -> None:
            if (worker.pid, key) not in self._warm:
                self._warm.add((worker.pid, key))
                worker.ask("latency", timeout, **request, texts=cell.texts[:_WARM_UP_REQUESTS])
            answer = worker.ask("latency", timeout, **request, texts=cell.texts)
            self._record.latencies.setdefault(key, []).append(
                LatencyRound(
                    round=number,
                    seconds=answer["seconds"],
                    latencies_seconds=tuple(answer["latencies_seconds"]),
                )
            )

        self._try(key, system, measure)

    def _try(
        self,
        key: ThroughputKey | LatencyKey,
        system: System,
        measure: Callable[[WorkerProcess], None],
    ) -> None:
        """Measure; a failure becomes a row, and what has failed is not tried again."""
        if key in self._record.failures:
            return
        try:
            measure(self._pool.get(system))
        except WorkerError as error:
            self._record.failures[key] = failure_of(error)
            what = ", ".join(map(str, key[1:]))
            self._progress.failed(system.name, what, failure_of(error))

    def _compare(self, folder: Path) -> None:
        """Compare what was saved with the reference's, as far as both are there."""
        for key in self._record.passes.keys() - self._record.accuracies.keys():
            _, mix, outputs = key
            reference, candidate = _saved(folder, (REFERENCE, mix, outputs)), _saved(folder, key)
            if reference.is_file() and candidate.is_file():
                self._record.accuracies[key] = compare_files(reference, candidate)

    def _say(self, number: int, what: str, who: str) -> None:
        self._progress.step(f"round {number + 1}/{self._plan.rounds} · {what} · {who}")

    def _check_time(self) -> None:
        limit = self._plan.time_limit_seconds
        if limit is not None and time.perf_counter() - self._began_seconds > limit:
            raise _TimeIsUpError


def _saved(folder: Path, key: ThroughputKey) -> Path:
    return folder / ("_".join(key) + ".npz")
