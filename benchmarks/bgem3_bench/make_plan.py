"""From what was asked for on the command line to the plan of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_bench.errors import WorkError
from bgem3_bench.mixes import MIXES, Mix, build_mix, mix_from_file, token_budget
from bgem3_bench.models import BenchModel
from bgem3_bench.plan import OUTPUT_NAMES, Cell, LatencyCell, Plan, latency_requests
from bgem3_bench.systems import System, prepare

_QUERIES: Final = "queries"
_ROUNDS: Final = 3
_QUICK_ROUNDS: Final = 2


@dataclass(frozen=True)
class BenchSettings:
    """The options of ``bgem3 bench`` that say what to measure; None leaves it open."""

    mixes: tuple[str, ...] | None
    texts: tuple[Path, ...]
    outputs: tuple[str, ...]
    rounds: int | None
    concurrency: tuple[int, ...]
    latency_mixes: tuple[str, ...] | None
    threads: int | None
    quick: bool
    time_limit: float | None
    cell_timeout: float
    seed: int


def make_plan(
    settings: BenchSettings,
    chosen: BenchModel,
    systems: Sequence[System],
    on_progress: Callable[[str], None],
) -> Plan:
    """Build the mixes and get the systems ready to be started.

    Args:
        settings: What to measure.
        chosen: The model.
        systems: From :func:`~bgem3_bench.systems.chosen_systems`; some first make files of the
            checkpoint, once.
        on_progress: Called with a few words before each step.

    Raises:
        WorkError: A file of texts cannot be read, or a mix is not there or there twice.
    """
    mixes = _mixes(settings, chosen)
    outputs = [name for name in OUTPUT_NAMES if name in settings.outputs]
    repository, checkpoint = chosen.repository, chosen.model.checkpoint
    return Plan(
        model=chosen.model,
        systems=tuple(prepare(system, repository, checkpoint, on_progress) for system in systems),
        cells=tuple(Cell(mix, each) for mix in mixes for each in outputs),
        latency_cells=tuple(
            LatencyCell(
                mix,
                outputs[0],
                concurrency,
                latency_requests(mix, concurrency, quick=settings.quick),
            )
            for mix in _latency_mixes(settings, mixes)
            for concurrency in settings.concurrency
        ),
        rounds=settings.rounds or (_QUICK_ROUNDS if settings.quick else _ROUNDS),
        threads=settings.threads or len(os.sched_getaffinity(0)),
        seed=settings.seed,
        cell_timeout_seconds=settings.cell_timeout,
        time_limit_seconds=None if settings.time_limit is None else 60 * settings.time_limit,
    )


def _mixes(settings: BenchSettings, chosen: BenchModel) -> list[Mix]:
    names: Sequence[str] = settings.mixes or (() if settings.texts else MIXES)
    tokenizer = TextTokenizer(chosen.model.checkpoint / "tokenizer.json")
    budget = token_budget(chosen.model.shape, quick=settings.quick)
    mixes = [build_mix(name, tokenizer, budget) for name in names]
    mixes += [mix_from_file(path, tokenizer, budget) for path in settings.texts]
    if len({mix.name for mix in mixes}) < len(mixes):
        raise WorkError(
            f"two mixes have the same name: {', '.join(mix.name for mix in mixes)}; rename a file"
        )
    return mixes


def _latency_mixes(settings: BenchSettings, mixes: Sequence[Mix]) -> list[Mix]:
    by_name = {mix.name: mix for mix in mixes}
    if settings.latency_mixes is None:
        return [by_name.get(_QUERIES, mixes[0])]
    unknown = [name for name in settings.latency_mixes if name not in by_name]
    if unknown:
        raise WorkError(
            f"latency cannot be measured on {', '.join(unknown)}: the mixes of this run are "
            f"{', '.join(by_name)}"
        )
    return [by_name[name] for name in settings.latency_mixes]
