"""What a person sees while a collection is evaluated: on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """One line that says what is done, and a bar where it is known how much of it."""

    def __init__(self, progress: bool) -> None:
        """Make one; without ``progress`` it says nothing."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not progress,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._step = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, words: str) -> None:
        """Say what begins."""
        self._step = words
        self._progress.reset(self._task, description=words, total=None)

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar."""
        self._progress.update(
            self._task, description=f"{self._step}, {what}", completed=done, total=total
        )
