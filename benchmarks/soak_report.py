"""What a soak came to, as a table for people and as a plot over its time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bgem3_bench.plot_style import COLORS, save_figure, style
from bgem3_bench.reports import markdown_table
from soak_load import DIFFERENCE_LIMIT, Sent
from soak_watch import Holding

_BINS: Final = 60


def markdown_section(
    sent: Sequence[Sent], canary: Sequence[Sent], holdings: Sequence[Holding], phases: Sequence[str]
) -> str:
    """Return tables: what came of the requests in each phase, and what the processes held."""
    return "\n".join([_requests_table(sent, phases), "", _processes_table(holdings), ""])


def _requests_table(sent: Sequence[Sent], phases: Sequence[str]) -> str:
    rows = []
    for phase in phases:
        own = [one for one in sent if one.phase == phase]
        seconds = [one.seconds for one in own if one.admitted] or [float("nan")]
        differences = [one.difference for one in own if one.difference is not None]
        rows.append(
            [
                phase,
                f"{len(own):,}",
                f"{sum(one.admitted for one in own):,}",
                f"{sum(one.status == 429 for one in own):,}",
                f"{sum(one.status == 504 for one in own):,}",
                f"{sum(one.status == 422 for one in own):,}",
                f"{sum(not one.status for one in own):,}",
                f"{np.percentile(seconds, 50):.2f} s",
                f"{np.percentile(seconds, 99):.2f} s",
                f"{max(differences, default=float('nan')):.1e}",
            ]
        )
    return markdown_table(
        [
            "load",
            "requests",
            "answered",
            "no room",
            "too late",
            "mistakes, told",
            "unanswered",
            "p50",
            "p99",
            "largest difference",
        ],
        rows,
    )


def _processes_table(holdings: Sequence[Holding]) -> str:
    rows = []
    for role in sorted({holding.role for holding in holdings}):
        own = [holding for holding in holdings if holding.role == role]
        quarter = max(len(own) // 4, 1)
        parts = (own[:quarter], own[quarter : 2 * quarter], own[-quarter:])
        memory = [max(one.memory_bytes for one in part) >> 20 for part in parts]
        rows.append(
            [
                role,
                *(f"{number} MiB" for number in memory),
                str(max(one.descriptors for one in own)),
                str(max(one.threads for one in own)),
            ]
        )
    return markdown_table(
        [
            "process",
            "memory, first quarter",
            "second quarter",
            "last quarter",
            "descriptors",
            "threads",
        ],
        rows,
    )


def save_plot(
    sent: Sequence[Sent], canary: Sequence[Sent], holdings: Sequence[Holding], path: Path
) -> list[Path]:
    """Draw requests, latency, memory and the canary over time; return the files.

    Args:
        sent: The load.
        canary: The same texts.
        holdings: What the processes held.
        path: Without a suffix.
    """
    end = max(one.at_seconds for one in sent) + 1e-9
    edges = np.linspace(0, end, _BINS + 1)
    minutes = (edges[:-1] + edges[1:]) / 120
    with style():
        drawing = Figure(figsize=(8, 10), layout="constrained")
        FigureCanvasAgg(drawing)
        requests, latency, memory, drift = drawing.subplots(4, sharex=True)

        width = (edges[1] - edges[0]) / 60
        below = np.zeros(_BINS)
        for label, color, statuses in (
            ("answered", COLORS[0], {200}),
            ("no room (429)", COLORS[1], {429}),
            ("too late (504)", COLORS[4], {504}),
            ("mistakes, told", COLORS[6], {422}),
        ):
            times = [one.at_seconds for one in sent if one.status in statuses]
            rate = np.histogram(times, edges)[0] / (edges[1] - edges[0])
            requests.bar(minutes, rate, width, bottom=below, color=color, label=label)
            below += rate
        requests.set_title("Requests a second, by what came of them")
        requests.legend(loc="upper left", ncols=4)
        requests.set_ylim(0, max(below) * 1.25)

        admitted = [one for one in sent if one.admitted]
        places = np.digitize([one.at_seconds for one in admitted], edges) - 1
        seconds = np.array([one.seconds for one in admitted])
        for percentile, color in ((50, COLORS[0]), (99, COLORS[4])):
            line = [
                np.percentile(seconds[places == place], percentile)
                if (places == place).any()
                else np.nan
                for place in range(_BINS)
            ]
            latency.plot(minutes, line, color=color, label=f"{percentile}th percentile")
        latency.set_title("Seconds until an admitted request is answered")
        latency.set_ylim(bottom=0)
        latency.legend(loc="upper left", ncols=2)

        roles = sorted({holding.role for holding in holdings})
        for number, role in enumerate(roles):
            own = [holding for holding in holdings if holding.role == role]
            memory.plot(
                [one.at_seconds / 60 for one in own],
                [one.memory_bytes / 2**20 for one in own],
                color=COLORS[number % len(COLORS)],
                linestyle="-" if number < len(COLORS) else "--",
                label=role,
            )
        memory.set_title("Memory of each process, MiB")
        memory.set_ylim(bottom=0)
        memory.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)

        sung = [one for one in canary if one.difference is not None]
        drift.scatter(
            [one.at_seconds / 60 for one in sung],
            [one.difference for one in sung],
            s=4,
            color=COLORS[2],
        )
        drift.axhline(DIFFERENCE_LIMIT, color=COLORS[4], linestyle="--", label="bound")
        drift.set_title("The same texts all the way: largest difference from the first answer")
        drift.set_ylim(0, DIFFERENCE_LIMIT * 1.2)
        drift.legend(loc="upper left")
        drift.set_xlabel("minutes")
        return save_figure(drawing, path)
