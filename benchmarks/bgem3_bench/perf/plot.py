"""Latency over throughput: one panel for each protocol and kind of load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bgem3_bench.perf.loads import LoadKind
from bgem3_bench.perf.run import Measurement
from bgem3_bench.perf.settings import PROTOCOL_NAMES, Protocol
from bgem3_bench.plot_style import COLORS, panels, save_figure

# Above one another: the highest first, as the lines are.
_PERCENTILES: Final = {
    "p99": (COLORS[4], "p99_milliseconds"),
    "p95": (COLORS[1], "p95_milliseconds"),
    "p50": (COLORS[0], "p50_milliseconds"),
}
_LABELS: Final[dict[LoadKind, str]] = {
    "concurrency": "requests kept under way",
    "request_rate": "requests sent in a second",
}
_PANEL_INCHES: Final = (4.2, 3.4)
_TITLE_INCHES: Final = 0.4


def plot(measurements: Sequence[Measurement], title: str, path: Path) -> list[Path]:
    """Draw measurements; points that are not to be trusted are hollow.

    Args:
        measurements: One or more.
        title: What was measured.
        path: Without a suffix.

    Returns:
        The files: PNG and SVG.
    """
    return save_figure(latency_figure(measurements, title), path)


def latency_figure(measurements: Sequence[Measurement], title: str) -> Figure:
    """Return the drawing; see :func:`plot`."""
    series: dict[tuple[LoadKind, Protocol], list[Measurement]] = {}
    for item in measurements:
        series.setdefault((item.figures.load.kind, item.protocol), []).append(item)
    width, height = _PANEL_INCHES
    drawing, axes = panels(len(series), width * len(series), height + _TITLE_INCHES)
    drawing.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold", wrap=True)
    for panel, (kind, protocol) in zip(axes, sorted(series), strict=True):
        items = sorted(series[kind, protocol], key=lambda item: item.figures.load.value)
        panel.set_title(f"{PROTOCOL_NAMES[protocol]}; numbers: {_LABELS[kind]}", fontsize=9)
        _draw(panel, items)
    axes[0].set_ylabel("latency, ms")
    if any(map(_is_doubtful, measurements)):
        # A point of no line, for the legend.
        axes[0].scatter([], [], label="not stable", **_dots("grey", ["white"]))
    axes[0].legend(loc="upper left", frameon=False, fontsize=9)
    return drawing


def _draw(panel: Axes, items: Sequence[Measurement]) -> None:
    rates = [item.figures.requests_per_second for item in items]

    def fillings(color: str) -> list[str]:
        return ["white" if _is_doubtful(item) else color for item in items]

    for name, (color, field) in _PERCENTILES.items():
        latencies = [getattr(item.figures, field) for item in items]
        panel.plot(rates, latencies, color=color, linewidth=1.5, label=name)
        panel.scatter(rates, latencies, **_dots(color, fillings(color)))
    for item, rate in zip(items, rates, strict=True):
        panel.annotate(
            f"{item.figures.load.value:g}",
            (rate, item.figures.p50_milliseconds),
            xytext=(0, -5),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
            # Readable across a line.
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    panel.set_yscale("log")
    # Room for the numbers and for whatever is at the edge.
    panel.margins(x=0.12, y=0.12)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("requests answered in a second")


def _dots(color: str, fillings: Sequence[str]) -> dict[str, Any]:
    """How points look, for ``Axes.scatter``."""
    return {"s": 24, "edgecolors": color, "facecolors": fillings, "linewidths": 1.3, "zorder": 3}


def _is_doubtful(item: Measurement) -> bool:
    return not (item.stable and item.keeps_up)
