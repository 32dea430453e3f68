"""The process that measures the matrix-multiply limit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.results import Precision
from bgem3_bench.worker_process import WorkerCommand, WorkerProcess

PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "bf16", "int8")
_SECONDS: Final = 0.6
# As many rows as the trunk computes at once in OpenVINO.
_TOKENS: Final = 1024
_TIMEOUT_SECONDS: Final = 120.0
_COMMAND: Final = WorkerCommand(
    "matmul-limit", (sys.executable, "-P", "-m", "bgem3_bench.workers.matmul_limit")
)


class LimitMeter:
    """Multiplies matrices of a trunk's shapes; see ``workers/matmul_limit.py``."""

    def __init__(self, worker: WorkerProcess, shape: TrunkShape, threads: int) -> None:
        self._worker = worker
        self._shape = shape
        self._threads = threads

    def measure(self, precision: Precision) -> tuple[float, str]:
        """Return multiplications and additions a second, and what measured them."""
        answer = self._worker.ask(
            "measure",
            _TIMEOUT_SECONDS,
            shapes=self._shape.linear_shapes,
            tokens=_TOKENS,
            threads=self._threads,
            precision=precision,
            seconds=_SECONDS,
        )
        return answer["flop_per_second"], answer["kernel"]


@contextmanager
def running_limit_meter(shape: TrunkShape, threads: int, log_folder: Path) -> Iterator[LimitMeter]:
    """Give a meter while the block runs."""
    worker = WorkerProcess(_COMMAND, log_folder / f"{_COMMAND.name}.log")
    try:
        yield LimitMeter(worker, shape, threads)
    finally:
        worker.kill()
