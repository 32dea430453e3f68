"""The pictures of a run: throughput, speed against accuracy, latency."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import Any, Final

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from bgem3_bench.errors import FAILURE_WORDS
from bgem3_bench.figures import Figures, LatencyFigures, ThroughputFigures
from bgem3_bench.plot_style import COLORS, panels, save_figure, style
from bgem3_bench.report import OUTPUT_WORDS
from bgem3_bench.results import OutputSet

_OURS: Final = COLORS[0]
_THEIRS: Final = "#9A9A9A"
_FAINT: Final = "#777777"
_BAR_INCHES: Final = 0.26
# Two vectors in FP32 are never nearer than rounding.
_EXACT: Final = 1e-7
_WORST: Final = 1e-2
_MARKERS: Final = "osD^vPX<>hp*"


def write_plots(figures: Figures, folder: Path) -> list[Path]:
    """Write every picture that there are figures for, as PNG and SVG; return the PNGs."""
    with style():
        drawings = _drawings(figures)
    return [save_figure(drawing, folder / name)[0] for name, drawing in drawings.items()]


def _drawings(figures: Figures) -> dict[str, Figure]:
    drawings: dict[str, Figure] = {}
    for outputs in figures.output_sets:
        columns = [figures.throughput(outputs, mix) for mix in figures.mixes]
        if any(row.tokens_per_second for rows in columns for row in rows):
            drawings[f"throughput_{outputs}"] = _throughput(figures, outputs, columns)
        columns = [[row for row in rows if _inaccuracy(row) is not None] for rows in columns]
        columns = [rows for rows in columns if rows]
        if columns:
            drawings[f"accuracy_{outputs}"] = _accuracy(figures, outputs, columns)
    for mix in figures.latency_mixes:
        latencies = [row for row in figures.latency(mix) if row.percentiles]
        if latencies:
            drawings[f"latency_{mix}"] = _latency(figures, mix, latencies)
    return drawings


def _throughput(
    figures: Figures, outputs: OutputSet, columns: Sequence[Sequence[ThroughputFigures]]
) -> Figure:
    """A panel for each mix, a bar for each system, whiskers from the lowest to the highest."""
    count = len(columns[0])
    drawing, axes = panels(
        len(columns),
        width_inches=3.0 + 2.4 * len(columns),
        height_inches=1.5 + _BAR_INCHES * count,
        share_x=False,
    )
    for ax, rows in zip(axes, columns, strict=True):
        speeds = [row.tokens_per_second for row in rows if row.tokens_per_second]
        largest = max((speed.highest for speed in speeds), default=1.0)
        for place, row in enumerate(rows):
            _bar(ax, place, row, largest)
        ax.set_title(_words(rows[0].mix))
        # Room for the figures behind the bars.
        ax.set_xlim(0, 1.5 * largest)
        ax.set_xlabel("tokens/s")
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=4)
        ax.xaxis.set_major_formatter(_THOUSANDS)
    axes[0].set_yticks(range(count), [row.system.label for row in columns[0]])
    axes[0].set_ylim(count - 0.4, -0.6)
    base = figures.systems[figures.baseline].label
    _title(drawing, figures, f"Throughput, {OUTPUT_WORDS[outputs]}", f"× against {base}")
    return drawing


def _bar(ax: Axes, place: int, row: ThroughputFigures, largest: float) -> None:
    speed = row.tokens_per_second
    if speed is None:
        words = "not measured" if row.failure is None else FAILURE_WORDS[row.failure.kind]
        ax.text(0.02 * largest, place, words, va="center", color=_FAINT, size=8)
        return
    ax.barh(place, speed.median, height=0.72, color=_OURS if row.system.ours else _THEIRS)
    ax.hlines(place, speed.lowest, speed.highest, color="#222222", linewidth=1.2)
    ratio = "" if row.ratio is None else f"  ×{row.ratio:.1f}"
    text = f"{speed.median:,.0f}{ratio}"
    ax.text(speed.highest + 0.03 * largest, place, text, va="center", size=8)


def _accuracy(
    figures: Figures, outputs: OutputSet, columns: Sequence[Sequence[ThroughputFigures]]
) -> Figure:
    """Speed to the right, accuracy upwards: a panel for each mix."""
    drawing, axes = panels(
        len(columns),
        width_inches=max(7.5, 1.0 + 2.6 * len(columns)),
        height_inches=5.2,
        share_x=False,
    )
    lowest = _WORST
    for ax, rows in zip(axes, columns, strict=True):
        for row in rows:
            speed, inaccuracy = row.tokens_per_second, _inaccuracy(row)
            if speed is None or inaccuracy is None:
                continue
            lowest = max(lowest, inaccuracy)
            ax.plot(
                speed.median,
                max(inaccuracy, _EXACT),
                **_mark(figures, row.system.name),
                linestyle="none",
                label=row.system.label,
                clip_on=False,
            )
        ax.set_title(_words(rows[0].mix))
        ax.set_xlim(0, 1.08 * max(ax.get_xlim()[1], 1))
        ax.set_xlabel("tokens/s")
        ax.locator_params(axis="x", nbins=4)
        ax.xaxis.set_major_formatter(_THOUSANDS)
    axes[0].set_yscale("log")
    axes[0].set_ylim(2 * lowest, _EXACT / 2)
    axes[0].set_yticks([10.0**-power for power in range(round(-log10(lowest)), 8)])
    axes[0].yaxis.set_major_formatter(FuncFormatter(_cosine))
    axes[0].minorticks_off()
    axes[0].set_ylabel("smallest dense cosine with FP32")
    _legend(drawing, axes)
    _title(drawing, figures, f"Speed against accuracy, {OUTPUT_WORDS[outputs]}", "")
    return drawing


def _latency(figures: Figures, mix: str, rows: Sequence[LatencyFigures]) -> Figure:
    """A panel for each percentile, a line for each system."""
    callers = sorted({row.concurrency for row in rows})
    drawing, axes = panels(3, width_inches=10.0, height_inches=5.2)
    for ax, percentile in zip(axes, ("p50", "p95", "p99"), strict=True):
        for name in dict.fromkeys(row.system.name for row in rows):
            system = figures.systems[name]
            points = [
                (callers.index(row.concurrency), 1e3 * getattr(row.percentiles, percentile))
                for row in rows
                if row.system.name == name
            ]
            ax.plot(
                [place for place, _ in points],
                [milliseconds for _, milliseconds in points],
                **_mark(figures, name),
                linestyle="-" if system.ours else ":",
                label=system.label,
            )
        ax.set_title(percentile)
        ax.set_xlabel("callers at a time")
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].minorticks_off()
    axes[0].set_xticks(range(len(callers)), [str(count) for count in callers])
    axes[0].set_xlim(-0.25, len(callers) - 0.75)
    axes[0].set_ylabel("milliseconds for one text")
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    _legend(drawing, axes)
    _title(drawing, figures, f"Latency, {_words(mix)}, one text a request", "")
    return drawing


def _mark(figures: Figures, name: str) -> dict[str, Any]:
    """How a system's points look, the same in all pictures: filled is ours."""
    number = list(figures.systems).index(name)
    color = COLORS[number % len(COLORS)]
    ours = figures.systems[name].ours
    return {
        "color": color,
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 8,
        "markerfacecolor": color if ours else "white",
        "markeredgewidth": 1.6,
    }


def _title(drawing: Figure, figures: Figures, title: str, addition: str) -> None:
    results = figures.results
    below = [
        results.model.note or results.model.name,
        results.machine.processor,
        f"{results.run.threads} cores",
        f"{results.run.rounds} round{'s' if results.run.rounds > 1 else ''}",
        addition,
    ]
    # The second line is lighter than the first, so they are two texts; the first makes the room.
    drawing.suptitle(f"{title}\n", x=0.01, ha="left", size=12, weight="bold")
    width, height = drawing.get_size_inches()
    drawing.text(
        0.01,
        1 - 0.3 / height,
        " · ".join(part for part in below if part),
        ha="left",
        va="top",
        size=8.5 if width > 8 else 7.5,
        color=_FAINT,
    )


def _legend(drawing: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels, each system once."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    drawing.legend(
        handles=list(entries.values()),
        labels=list(entries),
        loc="outside lower left",
        ncols=3,
        fontsize=8.5,
    )


def _inaccuracy(row: ThroughputFigures) -> float | None:
    if row.accuracy is None or row.accuracy.dense_cosine_smallest is None:
        return None
    return 1 - row.accuracy.dense_cosine_smallest


def _cosine(inaccuracy: float, _: object) -> str:
    power = round(-log10(inaccuracy))
    return f"{1 - 10.0**-power:.{power}f}"


def _words(mix: str) -> str:
    return mix.replace("_", " ")


_THOUSANDS: Final = FuncFormatter(lambda value, _: f"{value:,.0f}")
