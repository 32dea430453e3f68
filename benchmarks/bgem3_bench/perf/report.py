"""Measurements as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from bgem3_bench.machine import this_machine
from bgem3_bench.perf.binary import PerfAnalyzer
from bgem3_bench.perf.input_data import Work
from bgem3_bench.perf.loads import LoadKind
from bgem3_bench.perf.run import Measurement, RunOptions
from bgem3_bench.perf.settings import PROTOCOL_NAMES
from bgem3_bench.reports import markdown_table
from bgem3_client.encode_request import Output

KIND_NAMES: Final[dict[LoadKind, str]] = {
    "concurrency": "concurrency",
    "request_rate": "requests/s sent",
}

_UNSTABLE: Final = "\\*"
_BEHIND: Final = "†"
_NOTES: Final = {
    _UNSTABLE: "not stable: the last three windows differ by more than perf_analyzer allows "
    "(10%, unless told otherwise); their mean.",
    _BEHIND: "the server did not keep up with the rate, and its queue grew: the longer it is "
    "measured, the longer the latencies.",
}


@dataclass(frozen=True)
class Setup:
    """What was measured, and with what.

    Attributes:
        server: What it is, in words.
        title: What is measured, in few words.
        outputs: Empty where the model was asked for all it has.
        busy: The load of the machine in the minute before.
    """

    perf_analyzer: PerfAnalyzer
    server: str
    title: str
    model: str
    outputs: tuple[Output, ...]
    work: Work
    options: RunOptions
    busy: float

    @property
    def outputs_text(self) -> str:
        """What a request asks for."""
        if not self.outputs:
            return f"everything that {self.model} has, as perf_analyzer always does"
        return ", ".join(self.outputs)


def head(setup: Setup) -> str:
    """Return what a reader must know to judge the figures, as a Markdown list."""
    options = setup.options
    windows = f"three windows of {options.window}"
    lines = {
        "Machine": f"{this_machine()}; load in the minute before: {setup.busy:.1f}",
        "Server": setup.server,
        "perf_analyzer": setup.perf_analyzer.origin,
        "Outputs": setup.outputs_text,
        "Work": str(setup.work),
        "Measured in": windows + _sent(options),
    }
    return "\n".join(f"- {name}: {value}" for name, value in lines.items())


def _sent(options: RunOptions) -> str:
    parts = []
    if options.max_length is not None:
        parts.append(f"max_length {options.max_length}")
    if options.shared_memory != "none":
        parts.append(f"{options.shared_memory} shared memory")
    if options.extra:
        parts.append(f"options of perf_analyzer: {' '.join(options.extra)}")
    return "".join(f"; {part}" for part in parts)


def summary(measurement: Measurement) -> str:
    """Return one measurement as a line."""
    figures = measurement.figures
    return (
        f"{PROTOCOL_NAMES[measurement.protocol]}, {figures.load}: "
        f"{figures.requests_per_second:.1f} requests/s, p50 {figures.p50_milliseconds:.1f} ms, "
        f"p99 {figures.p99_milliseconds:.1f} ms"
        + ("" if measurement.stable else ", not stable")
        + ("" if measurement.keeps_up else ", the server does not keep up")
    )


def latency_tables(measurements: Sequence[Measurement], work: Work) -> str:
    """Return throughput and latency as Markdown: one table for each kind of load."""
    tables = [
        markdown_table(
            (
                "protocol",
                KIND_NAMES[kind],
                "requests/s",
                *(["texts/s"] if work.texts_per_request > 1 else []),
                *("tokens/s", "p50 ms", "p95 ms", "p99 ms"),
            ),
            [_latency_row(measurement, work) for measurement in measured],
        )
        for kind, measured in _by_kind(measurements)
    ]
    notes = [
        f"{mark} {note}"
        for mark, note in _NOTES.items()
        if any(mark in _marks(measurement) for measurement in measurements)
    ]
    return "\n\n".join([*tables, *notes])


def step_tables(measurements: Sequence[Measurement]) -> str:
    """Return where a request's time goes on the server, as Markdown; empty where nothing says."""
    tables = []
    for kind, measured in _by_kind(measurements):
        models = list(dict.fromkeys(step.model for item in measured for step in item.figures.steps))
        rows = []
        for item in measured:
            steps = {step.model: step for step in item.figures.steps}
            cells = [
                f"{steps[model].queue_milliseconds:.1f} + {steps[model].compute_milliseconds:.1f}"
                if model in steps
                else "-"
                for model in models
            ]
            rows.append((PROTOCOL_NAMES[item.protocol], f"{item.figures.load.value:g}", *cells))
        if models:
            tables.append(markdown_table(("protocol", KIND_NAMES[kind], *models), rows))
    return "\n\n".join(tables)


def markdown(setup: Setup, measurements: Sequence[Measurement], *, complete: bool) -> str:
    """Return the whole report, without the plot.

    Args:
        setup: What was measured.
        measurements: One or more.
        complete: False where the measurement did not come to its end.
    """
    parts = [
        head(setup),
        *([] if complete else ["**Not complete**: it failed, or was interrupted."]),
        latency_tables(measurements, setup.work),
    ]
    if steps := step_tables(measurements):
        parts += [
            "On the server, milliseconds that a request waits for a model + spends in it; steps "
            "that need nothing of each other run side by side:",
            steps,
        ]
    return "\n\n".join(parts) + "\n"


def as_json(setup: Setup, measurements: Sequence[Measurement], *, complete: bool) -> dict[str, Any]:
    """Return everything that was measured and how, for ``json.dumps``."""
    options = setup.options
    return {
        "complete": complete,
        "perf_analyzer": {
            "program": str(setup.perf_analyzer.program),
            "origin": setup.perf_analyzer.origin,
            "version": setup.perf_analyzer.version,
        },
        "server": setup.server,
        "model": setup.model,
        "outputs": setup.outputs or "all",
        "work": {
            "origin": setup.work.origin,
            "requests": len(setup.work.requests),
            "texts_per_request": setup.work.texts_per_request,
            "tokens_per_request": setup.work.tokens_per_request,
            "most_tokens": setup.work.most_tokens,
        },
        "options": asdict(options),
        "load_before": setup.busy,
        "measurements": [_json_row(measurement, setup.work) for measurement in measurements],
    }


def _json_row(measurement: Measurement, work: Work) -> dict[str, Any]:
    figures = asdict(measurement.figures)
    load = figures.pop("load")
    rate = measurement.figures.requests_per_second
    return {
        "protocol": measurement.protocol,
        load["kind"]: load["value"],
        "stable": measurement.stable,
        "keeps_up": measurement.keeps_up,
        "texts_per_second": rate * work.texts_per_request,
        "tokens_per_second": rate * work.tokens_per_request,
        **figures,
    }


def _latency_row(measurement: Measurement, work: Work) -> tuple[str, ...]:
    figures = measurement.figures
    rate = figures.requests_per_second
    marks = " ".join(_marks(measurement))
    return (
        PROTOCOL_NAMES[measurement.protocol],
        f"{figures.load.value:g}",
        f"{rate:.1f} {marks}".rstrip(),
        *([f"{rate * work.texts_per_request:,.0f}"] if work.texts_per_request > 1 else []),
        f"{rate * work.tokens_per_request:,.0f}",
        f"{figures.p50_milliseconds:.1f}",
        f"{figures.p95_milliseconds:.1f}",
        f"{figures.p99_milliseconds:.1f}",
    )


def _marks(measurement: Measurement) -> list[str]:
    return [
        *([] if measurement.stable else [_UNSTABLE]),
        *([] if measurement.keeps_up else [_BEHIND]),
    ]


def _by_kind(
    measurements: Sequence[Measurement],
) -> list[tuple[LoadKind, list[Measurement]]]:
    """Return the measurements of each kind of load, protocol by protocol."""
    kinds: list[tuple[LoadKind, list[Measurement]]] = []
    for kind in KIND_NAMES:
        measured = [item for item in measurements if item.figures.load.kind == kind]
        if measured:
            kinds.append((kind, sorted(measured, key=lambda item: item.protocol)))
    return kinds
