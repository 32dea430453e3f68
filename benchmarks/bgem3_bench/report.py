"""``report.md``: the tables of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from bgem3_bench.errors import FAILURE_WORDS
from bgem3_bench.figures import Figures, LatencyFigures, ThroughputFigures
from bgem3_bench.reports import markdown_table
from bgem3_bench.results import Failure, Latency, OutputSet, Throughput
from bgem3_bench.spread import Spread

NOTHING: Final = "–"
OUTPUT_WORDS: Final[dict[OutputSet, str]] = {
    "dense": "dense alone",
    "all": "dense, sparse and ColBERT",
}
_GB: Final = 1e9


def report(
    figures: Figures, plots: Sequence[Path], heading: str = "#", *, explained: bool = True
) -> str:
    """Return the report as Markdown.

    Args:
        figures: Of the run.
        plots: Pictures to show, as paths relative to the report.
        heading: What the title begins with; sections get one sign more.
        explained: Whether the last paragraph says what the figures are.
    """
    parts = [
        f"{heading} {figures.results.model.name}: measured side by side",
        _head(figures),
        *_pictures(plots),
        *_sections(figures, heading + "#"),
    ]
    if explained:
        parts.append(_HOW_TO_READ.format(reference=figures.results.run.reference))
    return "\n\n".join(parts) + "\n"


def overview(figures: Figures) -> str:
    """Return the tables of throughput alone, as Markdown."""
    return "\n\n".join(
        f"{OUTPUT_WORDS[outputs]}:\n\n{_overview(figures, outputs)}"
        for outputs in figures.output_sets
    )


def _head(figures: Figures) -> str:
    results, run = figures.results, figures.results.run
    machine = results.machine
    lines = []
    if results.model.note:
        lines.append(f"**{results.model.note[0].upper()}{results.model.note[1:]}.**")
    if not run.complete:
        lines.append(f"**Incomplete: {', '.join(run.notes)}.**")
    lines += [
        f"- Machine: {machine.processor}, {run.threads} of {machine.cores} cores used "
        f"({', '.join(machine.features) or 'no AVX'}), {machine.memory_bytes / 2**30:.0f} GiB, "
        f"{machine.system}, Python {machine.python}",
        f"- {run.started[:10]}, {run.seconds / 60:.0f} minutes, version {run.version}; other work "
        f"before it: a load of {run.load_average:.1f}",
        f"- {run.rounds} round{'s' if run.rounds > 1 else ''}, {_together(run.groups)}; figures "
        "are medians, with the lowest and highest round in brackets",
        *(f"- `{mix.name}`: {_mix(mix.description, mix.lengths)}" for mix in results.mixes),
    ]
    for limit in figures.limits():
        gigaflops = [
            f"{value / 1e9:,.0f}"
            for value in (
                limit.flop_per_second.median,
                limit.flop_per_second.lowest,
                limit.flop_per_second.highest,
            )
        ]
        lines.append(
            f"- Matrix-multiply limit, {limit.precision}: {gigaflops[0]} GFLOP/s "
            f"({gigaflops[1]}–{gigaflops[2]}), {limit.kernel}"
        )
    return "\n".join(lines)


def _together(groups: Sequence[Sequence[str]]) -> str:
    if len(groups) == 1:
        return "all systems loaded together and measured in turns"
    listed = "; ".join(", ".join(group) for group in groups)
    return f"systems in {len(groups)} groups that memory holds, loaded in every round ({listed})"


def _mix(description: str, lengths: Sequence[int]) -> str:
    shortest, longest = min(lengths), max(lengths)
    tokens = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
    count = f"{len(lengths):,} texts" if len(lengths) > 1 else "one text"
    return f"{description}; {count} of {tokens} tokens, {sum(lengths):,} in all"


def _pictures(plots: Iterable[Path]) -> list[str]:
    return [f"![{plot.stem.replace('_', ' ')}]({plot.as_posix()})" for plot in plots]


def _sections(figures: Figures, heading: str) -> list[str]:
    parts: list[str] = []
    for outputs in figures.output_sets:
        parts += [f"{heading} Throughput: {OUTPUT_WORDS[outputs]}", _overview(figures, outputs)]
        for mix in figures.mixes:
            rows = figures.throughput(outputs, mix)
            title = f"<details>\n<summary>{mix}, {OUTPUT_WORDS[outputs]}: all figures</summary>"
            parts += [title, _details(rows), "</details>"]
    for mix in figures.latency_mixes:
        parts += [f"{heading} Latency: {mix}, one text a request", _latencies(figures.latency(mix))]
    parts += [f"{heading} The systems", _systems(figures), *_failures(figures)]
    return parts


def _overview(figures: Figures, outputs: OutputSet) -> str:
    """Tokens a second and the ratio to the baseline: a row a system, a column a mix."""
    columns = [figures.throughput(outputs, mix) for mix in figures.mixes]
    table = markdown_table(
        ("tokens/s", *figures.mixes),
        [
            (row[0].system.label, *(_speed(cell) for cell in row))
            for row in zip(*columns, strict=True)
        ],
    )
    if not any(cell.ratio for column in columns for cell in column):
        return table
    return f"{table}\n\n× is the ratio to {figures.systems[figures.baseline].label}."


def _speed(row: ThroughputFigures) -> str:
    if row.tokens_per_second is None:
        return _reason(row.failure)
    ratio = "" if row.ratio is None else f" **×{row.ratio:.2f}**"
    return f"{_with_spread(row.tokens_per_second, _whole)}{ratio}"


def _details(rows: Sequence[ThroughputFigures]) -> str:
    return markdown_table(
        (
            "",
            "tokens/s",
            "texts/s",
            "dense cosine, smallest / mean",
            "sparse, largest difference",
            "ColBERT cosine, smallest / mean",
            "peak GB",
            "CPU s / M tokens",
            "padding efficiency",
            "of the limit",
        ),
        [(_labelled(row), *_detail(row)) for row in rows],
    )


def _labelled(row: ThroughputFigures) -> str:
    if row.batch_size is None:
        return row.system.label
    return f"{row.system.label} ({row.batch_size} text{'s' if row.batch_size > 1 else ''})"


def _detail(row: ThroughputFigures) -> tuple[str, ...]:
    if row.tokens_per_second is None:
        return (_reason(row.failure), *[""] * 8)
    return (
        _with_spread(row.tokens_per_second, _whole),
        _or_nothing(_median(row.texts_per_second), _number),
        *_accuracy(row),
        _or_nothing(row.peak_bytes, lambda value: f"{value / _GB:.2f}"),
        _or_nothing(row.cpu_seconds_per_million_tokens, _whole),
        _padding(row),
        _or_nothing(
            _median(row.share_of_limit),
            lambda value: f"{100 * value:.0f}% {row.system.precision}",
        ),
    )


def _padding(row: ThroughputFigures) -> str:
    if row.padding_efficiency is None:
        return NOTHING
    attention = row.attention_efficiency
    inside = "" if attention is None else f" (attention {attention:.2f})"
    return f"{row.padding_efficiency:.3f}{inside}"


def _accuracy(row: ThroughputFigures) -> tuple[str, str, str]:
    found = row.accuracy
    cut = f"cut off {row.missing_tokens:,} tokens; " if row.missing_tokens else ""
    if found is None:
        return cut + NOTHING, NOTHING, NOTHING
    return (
        cut + _pair(found.dense_cosine_smallest, found.dense_cosine_mean),
        _or_nothing(found.sparse_difference_largest, lambda value: f"{100 * value:.3g}%"),
        found.note or _pair(found.colbert_cosine_smallest, found.colbert_cosine_mean),
    )


def _latencies(rows: Sequence[LatencyFigures]) -> str:
    return markdown_table(
        ("", "callers", "p50 ms", "p95 ms", "p99 ms", "requests/s", "requests"),
        [
            (row.system.label, str(row.concurrency), _reason(row.failure), "", "", "", "")
            if row.percentiles is None or row.p50_spread is None or row.requests_per_second is None
            else (
                row.system.label,
                str(row.concurrency),
                f"{_milliseconds(row.percentiles.p50)} ({_milliseconds(row.p50_spread.lowest)}–"
                f"{_milliseconds(row.p50_spread.highest)})",
                _milliseconds(row.percentiles.p95),
                _milliseconds(row.percentiles.p99),
                _number(row.requests_per_second.median),
                str(row.requests),
            )
            for row in rows
            if row.percentiles or row.failure
        ],
    )


def _systems(figures: Figures) -> str:
    rows = []
    for system in figures.results.systems:
        starts = system.startup_seconds
        versions = ", ".join(f"{name} {version}" for name, version in system.versions.items())
        rows.append(
            (
                f"{system.label} (`{system.name}`)",
                f"{Spread.of(starts).median:.1f}" if starts else _reason(system.failure),
                system.settings or NOTHING,
                versions or NOTHING,
            )
        )
    return markdown_table(("", "start-up s", "settings", "versions"), rows)


def _failures(figures: Figures) -> list[str]:
    """What went wrong, each reason once, in full."""
    found: dict[tuple[str, str], str] = {}
    for system in figures.results.systems:
        if system.failure:
            found[system.label, system.failure.message] = FAILURE_WORDS[system.failure.kind]
    cells: list[Throughput | Latency] = [*figures.results.throughput, *figures.results.latency]
    for cell in cells:
        system = figures.systems[cell.system]
        if cell.failure and not system.failure:
            where = f"{FAILURE_WORDS[cell.failure.kind]} ({cell.mix}, {OUTPUT_WORDS[cell.outputs]})"
            found.setdefault((system.label, cell.failure.message), where)
    if not found:
        return []
    lines = [
        f"- {label}, {where}: {' '.join(message.split())}"
        for (label, message), where in found.items()
    ]
    return ["Not measured:\n\n" + "\n".join(lines)]


_HOW_TO_READ: Final = """\
Accuracy is against `{reference}` over all texts of the mix: cosines of dense and of ColBERT
vectors, and the largest difference of a sparse weight relative to the largest weight of its text.
FlagEmbedding's rows say how far that reference is from PyTorch. Peak memory counts mapped files,
and the processes of a server but not its client. Padding efficiency is real tokens by computed
tokens; where attention pads and the linear layers do not, its own follows in parentheses. The
share of the limit is the linear layers' work alone by what matrix multiplications of the trunk's
own shapes reached at best, measured in turns with the systems; attention, tokenizer and heads count
as loss. With random weights differences of sparse weights say nothing: most are near 0.
Start-up is from the start of the process to the first answer, on a warm disk."""


def _reason(failure: Failure | None) -> str:
    return NOTHING if failure is None else FAILURE_WORDS[failure.kind]


def _with_spread(spread: Spread, form: Callable[[float], str]) -> str:
    if spread.lowest == spread.highest:
        return form(spread.median)
    return f"{form(spread.median)} ({form(spread.lowest)}–{form(spread.highest)})"


def _median(spread: Spread | None) -> float | None:
    return None if spread is None else spread.median


def _or_nothing(value: float | None, form: Callable[[float], str]) -> str:
    return NOTHING if value is None else form(value)


def _pair(smallest: float | None, mean: float | None) -> str:
    if smallest is None or mean is None:
        return NOTHING
    return f"{smallest:.6f} / {mean:.6f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"
