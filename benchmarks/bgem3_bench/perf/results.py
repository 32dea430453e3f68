"""What perf_analyzer writes about a run: one CSV, and for an ensemble one more for each step.

The columns are those of perf_analyzer 24.x: https://github.com/triton-inference-server/
perf_analyzer, ``src/report_writer.cc``. Times are in microseconds.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_backend.contract import MODELS
from bgem3_bench.perf.errors import PerfAnalyzerError
from bgem3_bench.perf.loads import Load, LoadKind

REPORT: Final = "report.csv"
"""Without a folder: perf_analyzer puts a step's name before the whole of it."""

_LOAD_COLUMNS: Final[dict[str, LoadKind]] = {
    "Concurrency": "concurrency",
    "Request Rate": "request_rate",
}
_COMPUTE: Final = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
_STEP_FILE: Final = re.compile(rf"(?P<model>.+)_v\d*\.{re.escape(REPORT)}")
_ORDER: Final = [model.name for model in MODELS]


@dataclass(frozen=True)
class StepTimes:
    """What one model did for a request, on average; the steps of an ensemble overlap.

    Attributes:
        queue_milliseconds: Waiting until an instance was free.
        compute_milliseconds: In the instance, with what goes in and out.
    """

    model: str
    queue_milliseconds: float
    compute_milliseconds: float


@dataclass(frozen=True)
class Figures:
    """What perf_analyzer says about one level of load; latencies are those of its requests.

    Attributes:
        steps: What the server says about its models: the steps of an ensemble, or the model.
    """

    load: Load
    requests_per_second: float
    p50_milliseconds: float
    p90_milliseconds: float
    p95_milliseconds: float
    p99_milliseconds: float
    steps: tuple[StepTimes, ...]


def read_report(folder: Path, model: str) -> list[Figures]:
    """Read the CSV files of a run in ``folder``, one level of load a row.

    Args:
        folder: Where perf_analyzer ran with ``-f report.csv``.
        model: What it measured.

    Raises:
        PerfAnalyzerError: A file is missing or has not the columns that are read.
    """
    steps: dict[Load, list[StepTimes]] = {}
    for file in folder.iterdir():
        if match := _STEP_FILE.fullmatch(file.name):
            for row in _rows(file):
                steps.setdefault(_load(row, file), []).append(_step(match["model"], row, file))
    report = folder / REPORT
    figures = []
    for row in _rows(report):
        load = _load(row, report)
        p50, p90, p95, p99 = (
            _number(row, f"p{percent} latency", report) / 1000 for percent in (50, 90, 95, 99)
        )
        own = sorted(steps.get(load, ()), key=_place) or _own_step(model, row, report)
        rate = _number(row, "Inferences/Second", report)
        figures.append(Figures(load, rate, p50, p90, p95, p99, tuple(own)))
    return figures


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except FileNotFoundError as error:
        raise PerfAnalyzerError(f"perf_analyzer has written no {file.name}") from error


def _load(row: dict[str, str], file: Path) -> Load:
    for column, kind in _LOAD_COLUMNS.items():
        if column in row:
            return Load(kind, _number(row, column, file))
    raise _unreadable(file, " or ".join(map(repr, _LOAD_COLUMNS)), row)


def _own_step(model: str, row: dict[str, str], file: Path) -> list[StepTimes]:
    """The server's times for a model without steps; a run may be without them too."""
    return [_step(model, row, file)] if "Server Queue" in row else []


def _step(model: str, row: dict[str, str], file: Path) -> StepTimes:
    return StepTimes(
        model,
        queue_milliseconds=_number(row, "Server Queue", file) / 1000,
        compute_milliseconds=sum(_number(row, column, file) for column in _COMPUTE) / 1000,
    )


def _place(step: StepTimes) -> tuple[int, str]:
    """Sort models as the contract has them, in the order in which they run."""
    place = _ORDER.index(step.model) if step.model in _ORDER else len(_ORDER)
    return place, step.model


def _number(row: dict[str, str], column: str, file: Path) -> float:
    try:
        return float(row[column])
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable(file, repr(column), row) from error


def _unreadable(file: Path, column: str, row: dict[str, str]) -> PerfAnalyzerError:
    return PerfAnalyzerError(
        f"perf_analyzer's {file.name} has no number in the column {column}; it has "
        + ", ".join(f"{name}: {value}" for name, value in row.items())
    )
