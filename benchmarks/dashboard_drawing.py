"""Draws a Grafana dashboard from its file and the answers to its queries, as far as we use it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullFormatter
from PIL import Image

from bgem3_bench.plot_style import COLORS, style
from prometheus_process import Series

_COLUMNS: Final = 24
_COLUMN_INCHES: Final = 0.76
_ROW_INCHES: Final = 0.35
_DPI: Final = 84
_HEAD_INCHES: Final = 0.5
_GRAFANA_COLORS: Final = {
    "green": "#2E8B57",
    "yellow": "#E0A800",
    "orange": "#E07000",
    "red": "#C4302B",
    "blue": "#1F60C4",
}
_LINE_COLORS: Final = (*COLORS, "#000000", "#8C564B", "#BCBD22", "#17BECF")


@dataclass(frozen=True)
class Answer:
    """What one query of a panel gave: the name in the legend, and the series."""

    name: str
    series: Series


@dataclass(frozen=True)
class PanelAnswers:
    """A panel of the dashboard's file, and what its queries gave."""

    panel: Mapping[str, Any]
    answers: Sequence[Answer]


class _BinaryLocator(Locator):
    """Ticks at multiples of a power of two, as memory is counted."""

    def __call__(self) -> list[float]:
        """Return at most six, from 0 on."""
        _, top = self.axis.get_view_interval()
        step = 2.0 ** math.ceil(math.log2(max(top, 1) / 6))
        return [step * number for number in range(7) if step * number <= top]

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the same, whatever the limits."""
        return self()


def legend_name(template: str, labels: Mapping[str, str]) -> str:
    """Return a legend's text: ``{{label}}`` is replaced by the label's value."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), template)


def draw_dashboard(
    panels: Sequence[PanelAnswers],
    rows: Sequence[Mapping[str, Any]],
    title: str,
    span_seconds: tuple[float, float],
    path: Path,
) -> None:
    """Draw all panels where the dashboard has them, and write a PNG.

    Args:
        panels: What is shown.
        rows: The headings between them.
        title: Of the picture.
        span_seconds: Begin and end, in Unix time.
        path: Of the PNG.
    """
    height = max(p.panel["gridPos"]["y"] + p.panel["gridPos"]["h"] for p in panels)
    width_inches = _COLUMNS * _COLUMN_INCHES
    height_inches = height * _ROW_INCHES + _HEAD_INCHES
    with style():
        figure = Figure(figsize=(width_inches, height_inches))
        FigureCanvasAgg(figure)
        figure.text(0.008, 1 - 0.3 / height_inches, title, fontsize=13, fontweight="bold")
        for row in rows:
            y = 1 - (_HEAD_INCHES + (row["gridPos"]["y"] + 0.75) * _ROW_INCHES) / height_inches
            figure.text(0.008, y, row["title"], fontsize=12, color="#444444", fontweight="bold")
        for answered in panels:
            _draw_panel(figure, answered, span_seconds, (width_inches, height_inches))
        figure.savefig(path, dpi=_DPI)
    # A third of the size, and no other picture.
    with Image.open(path) as drawing:
        drawing.convert("RGB").quantize(256).save(path, optimize=True)


def _draw_panel(
    figure: Figure,
    answered: PanelAnswers,
    span_seconds: tuple[float, float],
    size_inches: tuple[float, float],
) -> None:
    panel, place = answered.panel, answered.panel["gridPos"]
    left = place["x"] * _COLUMN_INCHES
    top = _HEAD_INCHES + place["y"] * _ROW_INCHES
    width, height = place["w"] * _COLUMN_INCHES, place["h"] * _ROW_INCHES
    is_stat, is_timeline = panel["type"] == "stat", panel["type"] == "state-timeline"
    legend_lines = math.ceil(len(answered.answers) / _legend_columns(place["w"]))
    below = 0.15 if is_stat else 0.32 + (0 if is_timeline else 0.155 * legend_lines)
    margin = 0.1 if is_stat else 1.9 if is_timeline else 0.62
    axes = figure.add_axes(
        (
            (left + margin) / size_inches[0],
            1 - (top + height - below) / size_inches[1],
            (width - margin - 0.15) / size_inches[0],
            (height - below - 0.38) / size_inches[1],
        )
    )
    axes.set_title(panel["title"], fontsize=9.5, x=0 if is_stat else -0.3 / (width - margin))
    if is_stat:
        _draw_stat(axes, answered)
        return
    begin, end = span_seconds
    axes.set_xlim(0, (end - begin) / 60)
    axes.tick_params(labelsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(max(4, place["w"] // 2), steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda minute, _: f"{minute:g} min"))
    if is_timeline:
        _draw_timeline(axes, answered, begin)
        return
    _draw_series(axes, answered, begin)
    if answered.answers:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.3 / (width - margin), -0.22 / (height - below - 0.38)),
            ncol=_legend_columns(place["w"]),
            fontsize=7.5,
            handlelength=1.2,
            columnspacing=1.0,
            labelspacing=0.25,
            borderaxespad=0,
        )


def _legend_columns(width: int) -> int:
    return 2 if width <= 6 else 3


def _draw_stat(axes: Axes, answered: PanelAnswers) -> None:
    panel = answered.panel
    defaults = panel["fieldConfig"]["defaults"]
    axes.axis("off")
    if not answered.answers:
        axes.text(0.5, 0.45, _no_value(panel), ha="center", va="center", fontsize=13, color="#888")
        return
    by_name = panel["options"]["textMode"] == "name"
    text_of = _formatter(defaults["unit"], defaults.get("decimals"))
    for number, answer in enumerate(answered.answers):
        value = answer.series.values[-1]
        x = (number + 0.5) / len(answered.answers)
        color = _GRAFANA_COLORS[_step(defaults["thresholds"]["steps"], value)]
        text = answer.name if by_name else text_of(value)
        size = 15 if by_name else 24
        axes.text(x, 0.45, text, ha="center", va="center", fontsize=size, color=color)
        if len(answered.answers) > 1 and not by_name:
            axes.text(x, 0.0, answer.name, ha="center", va="center", fontsize=9)


def _step(steps: Sequence[Mapping[str, Any]], value: float) -> str:
    return [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]


def _draw_timeline(axes: Axes, answered: PanelAnswers, begin_seconds: float) -> None:
    names = sorted({answer.name for answer in answered.answers})
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for answer in answered.answers:
        for at, value in zip(answer.series.times_seconds, answer.series.values, strict=True):
            color = _GRAFANA_COLORS["red" if value == 2 else "yellow"]
            minute = (at - begin_seconds) / 60
            axes.barh(names.index(answer.name), 1.05 / 60, left=minute, color=color, height=0.7)


def _draw_series(axes: Axes, answered: PanelAnswers, begin_seconds: float) -> None:
    panel = answered.panel
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    is_logarithmic = custom.get("scaleDistribution", {}).get("type") == "log"
    if is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=defaults.get("decimals") == 0))
    if defaults["unit"] == "bytes":
        axes.yaxis.set_major_locator(_BinaryLocator())
    text_of = _formatter(defaults["unit"], defaults.get("decimals"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text_of(value)))
    limits = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byName"
    }
    if not answered.answers:
        axes.text(
            0.5, 0.5, _no_value(panel), ha="center", transform=axes.transAxes, color="#888888"
        )
    lines = [_minutes(answer, begin_seconds) for answer in answered.answers]
    if custom.get("stacking", {}).get("mode") == "normal" and lines:
        _draw_stack(axes, answered, lines)
    else:
        for (minutes, values), answer, color in zip(
            lines, answered.answers, cycle(_LINE_COLORS), strict=False
        ):
            if custom["drawStyle"] == "bars":
                axes.bar(minutes, values, width=1.2 / 60, color=color, label=answer.name)
            elif answer.name in limits:
                axes.plot(minutes, values, "--", color=_GRAFANA_COLORS["red"], label=answer.name)
            else:
                axes.plot(minutes, values, color=color, linewidth=1.4, label=answer.name)
    top = defaults.get("max")
    if not is_logarithmic:
        axes.set_ylim(defaults.get("min"), top * 1.03 if top is not None else None)
    if top is None and not any(any(values) for _, values in lines):
        axes.set_ylim(0, 1)
    for step in defaults.get("thresholds", {}).get("steps", [])[1:]:
        if step["value"] <= axes.get_ylim()[1]:
            axes.axhline(
                step["value"], color=_GRAFANA_COLORS[step["color"]], linestyle="--", linewidth=1
            )


def _draw_stack(
    axes: Axes, answered: PanelAnswers, lines: Sequence[tuple[list[float], list[float]]]
) -> None:
    answers = answered.answers
    colors = [
        _own_color(answered.panel, answer.name) or color
        for answer, color in zip(answers, cycle(_LINE_COLORS), strict=False)
    ]
    minutes = sorted({minute for line in lines for minute in line[0]})
    heights = []
    for line in lines:
        known = dict(zip(*line, strict=True))
        heights.append([0 if math.isnan(known.get(m, 0)) else known.get(m, 0) for m in minutes])
    axes.stackplot(
        minutes,
        heights,
        labels=[answer.name for answer in answers],
        colors=colors,
        alpha=0.75,
    )


def _own_color(panel: Mapping[str, Any], name: str) -> str | None:
    """The colour that the panel gives to series of this name; the last rule counts."""
    colors = [
        _GRAFANA_COLORS[override["properties"][0]["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byRegexp"
        and re.search(override["matcher"]["options"].strip("/"), name)
    ]
    return colors[-1] if colors else None


def _minutes(answer: Answer, begin_seconds: float) -> tuple[list[float], list[float]]:
    """A series in minutes since the begin, with a gap where Prometheus has nothing."""
    minutes: list[float] = []
    values: list[float] = []
    last: float | None = None
    for at, value in zip(answer.series.times_seconds, answer.series.values, strict=True):
        if last is not None and at - last > 1.5:
            minutes.append((last + 0.5 - begin_seconds) / 60)
            values.append(math.nan)
        minutes.append((at - begin_seconds) / 60)
        values.append(value)
        last = at
    return minutes, values


def _no_value(panel: Mapping[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"].get("noValue", "No data"))


def _formatter(unit: str, decimals: int | None) -> Callable[[float], str]:
    def scaled(value: float, steps: Sequence[tuple[float, str]]) -> str:
        size, name = next((s for s in steps if abs(value) >= s[0]), steps[-1])
        return f"{value / size:.3g}{name}"

    def short(value: float) -> str:
        if decimals is not None and abs(value) < 1000:
            return f"{value:.{decimals}f}"
        return scaled(value, [(1e9, " G"), (1e6, " M"), (1e3, " K"), (1, "")])

    formatters: dict[str, Callable[[float], str]] = {
        "s": lambda value: "0" if not value else scaled(value, [(1, " s"), (1e-3, " ms")]),
        "percentunit": lambda value: (
            f"{value * 100:.{decimals or 0}f}%" if decimals else f"{value * 100:.3g}%"
        ),
        "bytes": lambda value: scaled(
            value, [(2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")]
        ),
        "reqps": lambda value: f"{short(value)} req/s",
        "cps": lambda value: f"{short(value)} /s",
    }
    return formatters.get(unit, short)
