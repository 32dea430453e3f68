"""What came of a run, and who is told while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

Settlement: TypeAlias = Literal["added", "changed", "unchanged", "removed"]

_REMEMBERED: Final = 1000


@dataclass(frozen=True)
class Skipped:
    """A document, or a file, that is not in the collection, and why."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


@dataclass
class IndexReport:
    """What a run did. A document is a file, or a row of a table.

    Attributes:
        collection: Into which it went.
        files: Files that were found.
        added: Documents that were not there before.
        changed: Documents that were there in another state, or not to their end.
        unchanged: Documents that were left as they are.
        removed: Documents that are gone, and whose chunks went with them.
        unknown: Files of folders that are of no format that can be read, counted by suffix.
        skipped_count: Files, documents and parts of documents that could not be read or encoded.
        skipped: The first thousand of them.
        chunks: Chunks that were encoded and written.
        tokens: Their tokens, special tokens included.
        seconds: How long it took.
    """

    collection: str
    files: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    skipped_count: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    chunks: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def indexed(self) -> int:
        """Documents that were encoded and written."""
        return self.added + self.changed

    def skip(self, skipped: Skipped) -> None:
        """Count what is skipped, and keep it while there is room."""
        self.skipped_count += 1
        if len(self.skipped) < _REMEMBERED:
            self.skipped.append(skipped)


class Observer(Protocol):
    """Is told what happens, always by the thread that runs the work; what it raises ends it."""

    def compared(self, files: int, total_files: int) -> None:
        """So many files were held against what the store has."""

    def skipped(self, skipped: Skipped) -> None:
        """A file or a document is left out."""

    def settled(self, source: str, settlement: Settlement, chunks: int) -> None:
        """A document is in the collection as it should be, or out of it.

        Args:
            source: The document's.
            settlement: What was done.
            chunks: How many were encoded and written for that.
        """

    def progressed(self, report: IndexReport, done_bytes: int, total_bytes: int) -> None:
        """Another batch is written.

        Args:
            report: What is done so far; it goes on changing.
            done_bytes: Of text that was encoded in this run.
            total_bytes: Of text that this run encodes in all, as far as that is known: see
                :class:`bgem3_retrieval.index.forecast.Forecast`.
        """


class SilentObserver:
    """Tells nobody."""

    def compared(self, files: int, total_files: int) -> None:
        """See :class:`Observer`."""

    def skipped(self, skipped: Skipped) -> None:
        """See :class:`Observer`."""

    def settled(self, source: str, settlement: Settlement, chunks: int) -> None:
        """See :class:`Observer`."""

    def progressed(self, report: IndexReport, done_bytes: int, total_bytes: int) -> None:
        """See :class:`Observer`."""
