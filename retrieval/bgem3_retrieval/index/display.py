"""What a person sees while documents are indexed: on standard error."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.documents.folder import display_name
from bgem3_retrieval.index.report import IndexReport, Settlement, Skipped

_SHOWN_SKIPS: Final = 10
# Before so much is done the rate says little.
_SURE_SECONDS: Final = 2.0


class IndexDisplay:
    """A progress bar, what is skipped, and a summary.

    Attributes:
        report: What is done so far; None before the first batch.
    """

    def __init__(self, *, progress: bool, skipped_path: Path | None) -> None:
        """Make one.

        Args:
            progress: Whether to draw a bar.
            skipped_path: A file to write all that is skipped to as JSON lines, as it comes.

        Raises:
            OutputError: That file cannot be written.
        """
        self.report: IndexReport | None = None
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not progress,
            transient=True,
        )
        self._task = self._progress.add_task("looking", total=None, left="")
        self._encoding_since: float | None = None
        self._skips = 0
        self._skipped_path = skipped_path
        self._skipped_file: TextIO | None = None
        if skipped_path is not None:
            with writing(str(skipped_path)):
                self._skipped_file = skipped_path.open("w", encoding="utf-8", buffering=1)

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
        if self._skipped_file is not None:
            self._skipped_file.close()

    def compared(self, files: int, total_files: int) -> None:
        """Move the bar of the files that are held against the store."""
        self._progress.update(
            self._task,
            description=f"comparing {total_files:,} files",
            completed=files,
            total=total_files,
        )

    def skipped(self, skipped: Skipped) -> None:
        """Show the first of what is skipped, and write all of it.

        Raises:
            OutputError: The file for it cannot be written.
        """
        if self._skipped_file is not None:
            line = json.dumps(
                {"source": skipped.source, "reason": skipped.reason}, ensure_ascii=False
            )
            with writing(str(self._skipped_path)):
                self._skipped_file.write(line + "\n")
        self._skips += 1
        if self._skips <= _SHOWN_SKIPS:
            self.say(f"skipped: {display_name(skipped.source)}: {skipped.reason}")
        elif self._skips == _SHOWN_SKIPS + 1 and self._skipped_file is None:
            self.say("skipped: more of them; --errors FILE writes all to a file")

    def settled(self, source: str, settlement: Settlement, chunks: int) -> None:
        """Show nothing: there may be millions."""

    def progressed(self, report: IndexReport, done_bytes: int, total_bytes: int) -> None:
        """Move the bar."""
        self.report = report
        now = time.monotonic()
        if self._encoding_since is None:
            self._encoding_since = now
        seconds = now - self._encoding_since
        documents = f"{report.indexed:,} document{'' if report.indexed == 1 else 's'}"
        rate = f", {report.tokens / seconds:,.0f} tokens/s" if seconds > _SURE_SECONDS else ""
        self._progress.update(
            self._task,
            description=f"{documents}, {report.chunks:,} chunks{rate}",
            completed=done_bytes,
            # Files that are empty are done too.
            total=max(total_bytes, 1),
            left=time_left(seconds, done_bytes, total_bytes),
        )

    def say(self, message: str) -> None:
        """Print a line as it is: no mark-up, no colours, no breaks at the terminal's width."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)


def time_left(seconds: float, done_bytes: int, total_bytes: int) -> str:
    """Return how long it will take at the rate so far; nothing while that says little."""
    if seconds < _SURE_SECONDS or not done_bytes:
        return ""
    left = round(seconds * (total_bytes - done_bytes) / done_bytes)
    return f"about {shown_seconds(left)} left"


def shown_seconds(seconds: float) -> str:
    """Return a time as people say it: ``3.2 s``, ``2 min 05 s``, ``1 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if isinstance(seconds, float) else f"{seconds} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def summary(report: IndexReport, store: str) -> list[str]:
    """Return what was done, in lines for a person."""
    lines = [
        f"collection {report.collection} in {display_name(store)}: "
        + ", ".join(_counts(report))
        + f" ({shown_seconds(report.seconds)})"
    ]
    if report.chunks:
        lines.append(
            f"{report.chunks:,} chunks, {report.tokens:,} tokens "
            f"({report.tokens / max(report.seconds, 1e-3):,.0f} tokens/s)"
        )
    if report.unknown:
        kinds = sorted(report.unknown.items(), key=lambda kind: (-kind[1], kind[0]))
        named = ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in kinds[:6])
        more = ", …" if len(kinds) > 6 else ""
        total = sum(report.unknown.values())
        lines.append(f"{_files(total)} of other formats left alone: {named}{more}")
    return lines


def _counts(report: IndexReport) -> list[str]:
    named = {
        "added": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": report.skipped_count,
    }
    counts = [f"{count:,} {name}" for name, count in named.items() if count]
    return counts or ["nothing to do"]


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"
