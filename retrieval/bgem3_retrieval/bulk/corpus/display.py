"""What a person sees while a corpus is encoded: on standard error."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.text import Text

from bgem3_retrieval.bulk.corpus.manifest import Manifest, Shard
from bgem3_retrieval.bulk.corpus.pace import Pace, duration
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.errors import RejectedLineError

# Where no bar is drawn, as in a log, a line says how far it is, no more often than this.
_LINE_SECONDS: Final = 30.0


class CorpusDisplay:
    """A bar, or else a line now and then; see :class:`bgem3_retrieval.bulk.corpus.job`."""

    def __init__(self, *, total_bytes: int, progress: bool, stop_on_error: bool) -> None:
        """Make one.

        Args:
            total_bytes: Size of all inputs.
            progress: Whether to draw a bar.
            stop_on_error: Whether the first rejection ends the work.
        """
        self._total_bytes = total_bytes
        self._draws = progress
        self._stop_on_error = stop_on_error
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _PaceColumn(self),
            console=self._console,
            disable=not progress,
        )
        self._lock = threading.Lock()
        self._pace = Pace()
        self._texts = 0
        self._read_bytes = 0.0
        self._started = self._said = time.monotonic()

    def begin(self, manifest: Manifest) -> None:
        """Show where the work begins."""
        self._read_bytes = manifest.end_bytes
        self._started = self._said = time.monotonic()
        self._task = self._progress.add_task(
            _shards(len(manifest.shards)),
            total=max(self._total_bytes, 1),
            completed=manifest.end_bytes,
        )
        self._note()
        if manifest.shards:
            self.say(
                f"going on after {_shards(len(manifest.shards))} ({manifest.rows:,} rows), "
                f"{self._share:.0%} of the inputs"
            )
        self._progress.start()

    def answered(self, texts: int, read_bytes: float) -> None:
        """See :class:`bgem3_retrieval.bulk.corpus.job.CorpusObserver`."""
        with self._lock:
            self._texts += texts
            self._read_bytes += read_bytes
        self._note()
        if self._draws:
            self._progress.update(self._task, completed=self._read_bytes)

    def rejected(self, rejection: Rejection) -> None:
        """See :class:`bgem3_retrieval.bulk.corpus.job.CorpusObserver`.

        Raises:
            RejectedLineError: The first one was to end the work.
        """
        if self._stop_on_error:
            raise RejectedLineError(f"{rejection} (--on-error skip leaves such lines out)")

    def shard_written(self, shard: Shard) -> None:
        """See :class:`bgem3_retrieval.bulk.corpus.job.CorpusObserver`."""
        number = int(shard.file.removeprefix("part-").removesuffix(".parquet")) + 1
        self._progress.update(self._task, description=_shards(number))
        now = time.monotonic()
        if not self._draws and now - self._said >= _LINE_SECONDS:
            self._said = now
            self.say(f"{_shards(number)}, {self._share:.0%} of the inputs, {self.pace()}")

    def summary(self, manifest: Manifest, output: str) -> None:
        """Say what was done, in one line."""
        self._progress.update(self._task, completed=max(self._total_bytes, 1))
        self.close()
        seconds = time.monotonic() - self._started
        tokens = sum(shard.tokens for shard in manifest.shards)
        truncated = sum(shard.truncated for shard in manifest.shards)
        parts = [
            f"{manifest.rows:,} texts ({tokens:,} tokens) in {_shards(len(manifest.shards))} in "
            f"{output}",
            f"{self._texts:,} of them encoded now in {duration(seconds)}",
        ]
        if truncated:
            parts.append(f"{truncated:,} truncated")
        parts.append(f"{manifest.rejected:,} rejected")
        self.say(", ".join(parts))

    def pace(self) -> str:
        """Return the rate of the last minute, and how long the rest takes at it."""
        self._note()
        rate = self._pace.texts_per_second
        seconds_left = self._pace.seconds_left(self._total_bytes)
        if rate is None:
            return "starting"
        left = "time left unknown" if seconds_left is None else f"{duration(seconds_left)} left"
        return f"{rate:,.0f} texts/s, {left}"

    def say(self, message: str) -> None:
        """Print a line as it is: no mark-up, no colours, no breaks at the terminal's width."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar's hands off the terminal."""
        self._progress.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _share(self) -> float:
        return self._read_bytes / max(self._total_bytes, 1)

    def _note(self) -> None:
        with self._lock:
            self._pace.add(time.monotonic(), self._texts, self._read_bytes)


class _PaceColumn(ProgressColumn):
    def __init__(self, display: CorpusDisplay) -> None:
        self._display = display
        super().__init__()

    def render(self, task: Task) -> Text:
        return Text(self._display.pace())


def _shards(number: int) -> str:
    return f"{number:,} shard" if number == 1 else f"{number:,} shards"
