"""What a run is to measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_bench.mixes import Mix
from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.results import OutputSet, Precision
from bgem3_bench.systems import BEST, System

OUTPUT_NAMES: Final[dict[OutputSet, tuple[str, ...]]] = {
    "dense": ("dense",),
    "all": ("dense", "sparse", "colbert"),
}
BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32)
"""What is tried to find the best."""

_WORKER_BYTES: Final = 700 * 2**20
_WEIGHTS_FACTOR: Final = 1.25
# The rest is for what the active one takes on top, and for the page cache.
_MEMORY_SHARE: Final = 0.6
# Of the limit of its precision, as a guess before anything is measured.
_GUESSED_SHARE: Final = 0.35
_GUESSED_LOAD_BYTES_PER_SECOND: Final = 300e6
_GUESSED_START_SECONDS: Final = 8.0
_GUESSED_BATCH: Final = 64
_GUESSED_BEST_BATCH: Final = 4
_TUNING_PASSES: Final = 4.0
_WARM_UP_TEXTS: Final = 4


@dataclass(frozen=True)
class Model:
    """The checkpoint that every system loads.

    Attributes:
        note: What must be said of it aloud; or empty.
    """

    name: str
    note: str
    checkpoint: Path
    shape: TrunkShape


@dataclass(frozen=True)
class Cell:
    """What all systems do in turns: one mix, one set of outputs."""

    mix: Mix
    outputs: OutputSet

    @property
    def work(self) -> dict[str, list[str]]:
        """The fields of a request for all of it."""
        return {"texts": list(self.mix.texts), "outputs": list(OUTPUT_NAMES[self.outputs])}

    @property
    def warm_up(self) -> dict[str, list[str]]:
        """The fields of a request for some of it: every fourth text."""
        return {**self.work, "texts": list(self.mix.texts[::_WARM_UP_TEXTS])}

    @property
    def batch_sizes(self) -> list[int]:
        """What is worth trying: nothing beyond the number of texts."""
        texts = len(self.mix.texts)
        return [size for size in BATCH_SIZES if size < 2 * texts]


@dataclass(frozen=True)
class LatencyCell:
    """Requests of one text by several callers; ``texts`` has one for each request."""

    mix: Mix
    outputs: OutputSet
    concurrency: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A whole run.

    Attributes:
        cell_timeout_seconds: What takes longer is given up.
        time_limit_seconds: After it nothing new begins; None for no limit.
    """

    model: Model
    systems: tuple[System, ...]
    cells: tuple[Cell, ...]
    latency_cells: tuple[LatencyCell, ...]
    rounds: int
    threads: int
    seed: int
    cell_timeout_seconds: float
    time_limit_seconds: float | None

    @property
    def mixes(self) -> tuple[Mix, ...]:
        """Each once."""
        return tuple({cell.mix.name: cell.mix for cell in self.cells}.values())

    @property
    def latency_systems(self) -> list[System]:
        """One for each worker: a batch size is nothing to a caller with one text."""
        first = {system.worker_name: system for system in reversed(self.systems)}
        return [system for system in self.systems if first[system.worker_name] is system]

    @property
    def worker_bytes(self) -> int:
        """About what the process of a system takes: FP32 weights, libraries and some room."""
        return int(self.model.shape.weights_bytes * _WEIGHTS_FACTOR) + _WORKER_BYTES

    @property
    def memory_share(self) -> float:
        """The part of the memory that loaded workers may fill."""
        return _MEMORY_SHARE


def latency_requests(mix: Mix, concurrency: int, *, quick: bool) -> tuple[str, ...]:
    """Return the texts of a latency measurement: the mix's, again and again.

    A hundred at least, so that the 99th percentile is more than the slowest, and three for each
    caller.
    """
    count = max(32, concurrency) if quick else max(100, 3 * concurrency)
    texts = mix.texts
    return tuple(texts[number % len(texts)] for number in range(count))


def estimated_seconds(
    plan: Plan, groups: Sequence[Sequence[System]], limits: dict[Precision, float]
) -> float:
    """Guess how long a run takes, from the limits of matrix multiplication alone.

    Args:
        plan: The run.
        groups: As they share the memory; several are started again in every round.
        limits: Multiplications and additions a second.
    """
    starts = 1 if len(groups) == 1 else plan.rounds
    workers = {system.worker_name for system in plan.systems}
    start_seconds = _GUESSED_START_SECONDS + (
        plan.model.shape.weights_bytes / _GUESSED_LOAD_BYTES_PER_SECOND
    )
    total = len(workers) * starts * start_seconds
    latency_tokens = sum(
        len(cell.texts) * cell.mix.tokens / len(cell.mix.texts) for cell in plan.latency_cells
    )
    for system in plan.systems:
        passes = plan.rounds + starts / _WARM_UP_TEXTS
        if system.batch_size == BEST:
            passes += _TUNING_PASSES
        tokens = passes * sum(_computed_tokens(system, cell.mix) for cell in plan.cells)
        if system in plan.latency_systems:
            tokens += plan.rounds * latency_tokens
        flop_per_second = _GUESSED_SHARE * limits.get(system.precision or "fp32", limits["fp32"])
        total += tokens * plan.model.shape.linear_flop_per_token / flop_per_second
    return total


def _computed_tokens(system: System, mix: Mix) -> int:
    """Guess the tokens of a pass, padding included."""
    if system.ours:
        return mix.tokens
    batch = _GUESSED_BEST_BATCH if system.batch_size == BEST else _GUESSED_BATCH
    lengths = sorted(mix.lengths, reverse=True)
    return sum(
        lengths[begin] * len(lengths[begin : begin + batch])
        for begin in range(0, len(lengths), batch)
    )
