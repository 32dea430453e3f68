"""Windows of one shard, written as they are answered, and counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bgem3_retrieval.bulk.corpus.shard_file import ShardFile
from bgem3_retrieval.bulk.corpus.window_encoder import WindowAnswers, WindowEncoder
from bgem3_retrieval.bulk.corpus.windows import Window
from bgem3_retrieval.bulk.records import Rejection


@dataclass
class ShardCounts:
    """What came of the lines of a shard; see :class:`bgem3_retrieval.bulk.corpus.manifest.Shard`.

    Attributes:
        lines: All of them.
        rows: Those that were encoded.
        rejected: Those that were not.
        tokens: Of all rows, special tokens included.
        truncated: Rows whose texts were cut.
    """

    lines: int = 0
    rows: int = 0
    rejected: int = 0
    tokens: int = 0
    truncated: int = 0


class ShardBuilder:
    """Writes one shard; the same windows and answers give the same bytes."""

    def __init__(self, path: Path, encoder: WindowEncoder) -> None:
        """Begin it.

        Args:
            path: Where it appears when it is finished.
            encoder: Makes columns of answers.

        Raises:
            OutputError: It cannot be written.
        """
        self.counts = ShardCounts()
        self._encoder = encoder
        self._file = ShardFile(path, encoder.schema)

    def add(self, window: Window, answers: WindowAnswers) -> list[Rejection]:
        """Write a window's rows; return what became no row, in the order of the lines.

        Raises:
            OutputError: They cannot be written.
        """
        encoded = self._encoder.columns([record.id for record in window.records], answers)
        rejections = [
            *window.rejections,
            *(Rejection(window.records[row].line, why) for row, why in encoded.refusals.items()),
        ]
        rejections.sort(key=lambda rejection: (rejection.line.input, rejection.line.number))
        if len(encoded.batch):
            self._file.write(encoded.batch)
        self.counts.lines += len(window)
        self.counts.rows += len(encoded.batch)
        self.counts.rejected += len(rejections)
        self.counts.tokens += encoded.tokens
        self.counts.truncated += encoded.truncated
        return rejections

    def finish(self) -> tuple[int, str]:
        """Let it appear, lastingly; return its size in bytes and its SHA-256.

        Raises:
            OutputError: It cannot be written.
        """
        return self._file.finish()

    def drop(self) -> None:
        """Leave nothing of it."""
        self._file.drop()
