"""What a person sees while texts are encoded: on standard error, whatever the output is."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from bgem3_retrieval.bulk.job import Tally
from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.bulk.rejections import as_json_line
from bgem3_retrieval.errors import RejectedLineError


class Display:
    """A progress bar, a line for each rejection, and a file of them where one is wanted."""

    def __init__(
        self,
        *,
        total_bytes: int | None,
        progress: bool,
        stop_on_error: bool,
        rejections_path: Path | None,
    ) -> None:
        """Make one.

        Args:
            total_bytes: Size of all inputs; None shows no share and no time left.
            progress: Whether to draw a bar.
            stop_on_error: Whether the first rejection ends the work.
            rejections_path: A file to write rejections to as JSON lines, as they come.

        Raises:
            OutputError: That file cannot be written.
        """
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not progress,
        )
        self._task = self._progress.add_task("starting", total=total_bytes)
        self._stop_on_error = stop_on_error
        self._started = time.monotonic()
        self._rejections_path = rejections_path
        self._rejections: BinaryIO | None = None
        if rejections_path is not None:
            with writing(str(rejections_path)):
                self._rejections = rejections_path.open("wb")

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
        if self._rejections is not None:
            self._rejections.close()

    def rejected(self, rejection: Rejection) -> None:
        """Show and keep a rejection.

        Raises:
            RejectedLineError: The first one was to end the work.
            OutputError: The file of rejections cannot be written.
        """
        if self._rejections is not None:
            with writing(str(self._rejections_path)):
                self._rejections.write(as_json_line(rejection))
                self._rejections.flush()
        if self._stop_on_error:
            raise RejectedLineError(f"{rejection} (--on-error skip leaves such lines out)")
        self.say(str(rejection))

    def written(self, tally: Tally) -> None:
        """Move the bar."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        self._progress.update(
            self._task,
            description=f"{tally.texts:,} texts, {tally.texts / seconds:,.0f} texts/s, "
            f"{tally.tokens / seconds:,.0f} tokens/s",
            completed=tally.read_bytes,
        )

    def summary(self, tally: Tally, output: str) -> None:
        """Say what was done, in one line."""
        seconds = time.monotonic() - self._started
        parts = [
            f"{tally.texts:,} texts ({tally.tokens:,} tokens) written to {output} "
            f"in {seconds:.1f} s"
        ]
        if tally.truncated:
            parts.append(f"{tally.truncated:,} truncated")
        parts.append(f"{tally.skipped:,} skipped")
        self.say(", ".join(parts))

    def say(self, message: str) -> None:
        """Print a line as it is: no mark-up, no colours, no breaks at the terminal's width."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)
