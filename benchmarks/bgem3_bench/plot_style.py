"""How all plots look, and how they are saved."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Told apart in print and by people who see few colours (Okabe and Ito's palette); ours comes first.
COLORS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7F7F7F")

_STYLE: Final[Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "bgem3",
}


def figure(width_inches: float = 7.0, height_inches: float = 4.0) -> tuple[Figure, Axes]:
    """Return an empty figure in the project's style, and its one axes."""
    with rc_context(_STYLE):
        drawing = Figure(figsize=(width_inches, height_inches), layout="constrained")
        FigureCanvasAgg(drawing)
        return drawing, drawing.add_subplot()


def panels(
    count: int, width_inches: float, height_inches: float, *, share_x: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with axes side by side that have their scales in common.

    With ``share_x`` False they have the vertical one in common alone.
    """
    with rc_context(_STYLE):
        drawing = Figure(figsize=(width_inches, height_inches), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.subplots(1, count, sharex=share_x, sharey=True, squeeze=False)
        return drawing, list(axes[0])


def style() -> AbstractContextManager[None]:
    """Let titles, labels and legends that are added while the block runs look like the rest."""
    return rc_context(_STYLE)


def save_figure(drawing: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG.

    Args:
        drawing: From :func:`figure`.
        path: Without a suffix; its folder is made.

    Returns:
        The two paths.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(".png"), path.with_suffix(".svg")]
    with rc_context(_STYLE):
        for file in files:
            drawing.savefig(
                file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None
            )
    return files
