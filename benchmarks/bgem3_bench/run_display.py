"""What a run shows while it goes on, on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from bgem3_bench.errors import FAILURE_WORDS
from bgem3_bench.results import Failure


class RunDisplay:
    """A bar with the time that is left, and a line for what fails."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn(
                "{task.description}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            expand=True,
            # Steps differ by a hundred times: the mean of few says nothing.
            speed_estimate_period=3600,
        )
        self._task: TaskID | None = None
        self._steps = 0
        self._said: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._bars.stop()

    def begin(self, steps: int, estimated_seconds: float, groups: int) -> None:
        """Say how long it may take."""
        if groups > 1:
            self.say(
                f"memory does not hold all systems at once: {groups} groups, loaded in every round"
            )
        minutes = estimated_seconds / 60
        guess = f"{minutes:.0f} minutes" if minutes >= 2 else f"{estimated_seconds:.0f} seconds"
        self.say(f"this takes about {guess}; Ctrl-C stops it and keeps what was measured")
        # Not before: an export draws bars of its own.
        self._bars.start()
        self._task = self._bars.add_task("starting", total=steps)

    def step(self, what: str) -> None:
        """Show what is measured now."""
        if self._task is not None:
            self._bars.update(self._task, description=what, completed=self._steps)
        self._steps += 1

    def failed(self, system: str, what: str, failure: Failure) -> None:
        """Say it, the same of one system once; the report has it too."""
        if failure.kind == "unsupported" or (system, failure.message) in self._said:
            return
        self._said.add((system, failure.message))
        first = failure.message.strip().splitlines()[0]
        if failure.kind in ("not_installed", "unavailable"):
            self.say(f"{system}: {first}")
        else:
            self.say(f"{system}, {what}: {FAILURE_WORDS[failure.kind]}: {first}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
