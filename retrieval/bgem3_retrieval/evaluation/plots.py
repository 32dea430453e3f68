"""The pictures of an evaluation: quality against speed, quality against weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bgem3_bench.plot_style import COLORS, figure, panels, save_figure, style
from bgem3_retrieval.evaluation.measures import NDCG
from bgem3_retrieval.evaluation.results import OURS, CollectionResult, SystemResult
from bgem3_retrieval.evaluation.weights import WeightPoint, WeightSearch

_MARKERS: Final = "osD^vPX<>hp*"
_FAINT: Final = "#777777"


def write_plots(collection: CollectionResult, folder: Path, note: str) -> list[Path]:
    """Write every picture that there are figures for, as PNG and SVG; return the PNGs.

    Args:
        collection: Its results.
        folder: Where they go.
        note: What was measured, for the line under a title.
    """
    drawings: dict[str, Figure] = {}
    with style():
        timed = [system for system in collection.systems if system.documents_per_second]
        if timed:
            drawings["quality_speed"] = _speed(timed, collection, note)
        if collection.weight_searches:
            drawings["quality_weights"] = _weights(collection, note)
    return [save_figure(drawing, folder / name)[0] for name, drawing in drawings.items()]


def _speed(systems: Sequence[SystemResult], collection: CollectionResult, note: str) -> Figure:
    """Speed to the right, quality upwards; a colour is a way to rank, a shape an origin."""
    drawing, ax = figure(8.0, 4.8)
    ways = list(dict.fromkeys(_way(system) for system in systems))
    origins = list(dict.fromkeys(system.origin for system in systems))
    for system in systems:
        color = COLORS[ways.index(_way(system)) % len(COLORS)]
        ax.plot(
            system.documents_per_second or 0,
            system.measures[NDCG],
            color=color,
            marker=_MARKERS[origins.index(system.origin) % len(_MARKERS)],
            markersize=9,
            markerfacecolor=color if system.origin == OURS else "white",
            markeredgewidth=1.6,
            linestyle="none",
            label=system.name,
            clip_on=False,
        )
    ax.set_xlim(0, 1.08 * max(system.documents_per_second or 0 for system in systems))
    ax.margins(y=0.15)
    ax.set_xlabel("documents encoded in a second")
    ax.set_ylabel(NDCG)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)
    _title(drawing, "Quality against speed", collection, note)
    return drawing


def _way(system: SystemResult) -> str:
    return system.name.removeprefix(f"{system.origin}: ")


def _weights(collection: CollectionResult, note: str) -> Figure:
    """A panel for each hybrid."""
    searches = collection.weight_searches
    drawing, axes = panels(len(searches), 4.9 * len(searches) + 0.6, 4.6, share_x=False)
    for ax, search in zip(axes, searches, strict=True):
        if len(search.outputs) == 2:
            _two(ax, search)
        else:
            _three(ax, search)
        ax.set_title("+".join(search.outputs))
    axes[0].set_ylabel(NDCG)
    _title(drawing, "Quality against weights", collection, note)
    return drawing


def _two(ax: Axes, search: WeightSearch) -> None:
    column = ("dense", "sparse", "colbert").index(search.outputs[1])
    points = sorted(search.points, key=lambda point: point.weights[column])
    shares = [point.weights[column] for point in points]
    for values, label, color in (
        ([point.tuning for point in points], _half("tuning", search.tuning_queries), COLORS[1]),
        (
            [point.held_out for point in points],
            _half("held-out", search.held_out_queries),
            COLORS[0],
        ),
    ):
        ax.plot(shares, values, color=color, marker="o", markersize=3.5, label=label)
    chosen, given = search.best, search.given
    ax.plot(chosen.weights[column], chosen.held_out, **_ring(COLORS[4]), label="chosen weights")
    ax.plot(given.weights[column], given.held_out, **_ring(COLORS[2]), label="given weights")
    ax.set_xlabel(f"weight of {search.outputs[1]} (0: {search.outputs[0]} alone)")
    ax.legend(loc="best", fontsize=8.5)


def _three(ax: Axes, search: WeightSearch) -> None:
    """The share of sparse among dense and sparse to the right, a line for some ColBERT weights."""
    shown = (0.0, 0.2, 0.4, 0.6, 0.8)
    for number, colbert in enumerate(shown):
        points = [point for point in search.points if abs(point.weights[2] - colbert) < 1e-9]
        points.sort(key=_sparse_share)
        ax.plot(
            [_sparse_share(point) for point in points],
            [point.held_out for point in points],
            color=COLORS[number],
            marker=_MARKERS[number],
            markersize=3.5,
            label=f"ColBERT {colbert:g}",
        )
    if search.best.weights[2] < 1:
        ax.plot(
            _sparse_share(search.best),
            search.best.held_out,
            **_ring(COLORS[4]),
            label=f"chosen (ColBERT {search.best.weights[2]:g})",
        )
    alone = next(point for point in search.points if point.weights[2] == 1)
    ax.axhline(alone.held_out, color=_FAINT, linestyle=":", linewidth=1.2, label="ColBERT alone")
    ax.set_xlabel("sparse as a share of dense and sparse; held-out half")
    ax.legend(loc="best", fontsize=8.5, ncols=2)


def _sparse_share(point: WeightPoint) -> float:
    dense, sparse, _ = point.weights
    return sparse / (dense + sparse)


def _half(name: str, queries: int) -> str:
    return f"{name} half ({queries} queries)"


def _ring(color: str) -> dict[str, Any]:
    return {
        "color": color,
        "marker": "o",
        "markersize": 12,
        "markerfacecolor": "none",
        "markeredgewidth": 1.8,
        "linestyle": "none",
    }


def _title(drawing: Figure, title: str, collection: CollectionResult, note: str) -> None:
    below = (
        f"{collection.name}: {collection.documents:,} documents, {collection.queries:,} queries "
        f"· {note}"
    )
    # The second line is lighter than the first, so they are two texts; the first makes the room.
    drawing.suptitle(f"{title}\n", x=0.01, ha="left", size=12, weight="bold")
    _, height = drawing.get_size_inches()
    drawing.text(0.01, 1 - 0.3 / height, below, ha="left", va="top", size=8, color=_FAINT)
