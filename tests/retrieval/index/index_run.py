"""Runs of the indexer on a folder, with a server that is faked and a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memory_store import MemoryStore

from bgem3_client import Client, FakeTransport, InferRequest, InferResponse
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.indexer import Indexer
from bgem3_retrieval.index.report import IndexReport, Settlement, Skipped
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.store import Store

COLLECTION = "notes"
SMALL_CHUNKS = CollectionOptions(max_tokens=16, overlap_tokens=4)
"""Of the fake tokenizer's words: a few sentences are several chunks."""


class WatchedTransport(FakeTransport):
    """Refuses texts with some word, and calls a function before each request."""

    def __init__(self, *, before: Callable[[InferRequest], None] | None = None) -> None:
        super().__init__()
        self._before = before

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer as the fake does."""
        if self._before is not None:
            self._before(request)
        return await super().infer(request)

    @property
    def encoded_texts(self) -> list[str]:
        """The texts whose vectors were asked for, in no order."""
        return [
            text.decode()
            for request in self.requests
            if any(output.name == "sparse_values" for output in request.outputs)
            for text in request.texts
        ]


@dataclass
class Recorder:
    """An observer that keeps what it is told."""

    skips: list[Skipped] = field(default_factory=list)
    progress: list[tuple[int, int]] = field(default_factory=list)
    reports: list[IndexReport] = field(default_factory=list)

    def compared(self, files: int, total_files: int) -> None:
        """See :class:`bgem3_retrieval.index.report.Observer`."""

    def skipped(self, skipped: Skipped) -> None:
        """See :class:`bgem3_retrieval.index.report.Observer`."""
        self.skips.append(skipped)

    def settled(self, source: str, settlement: Settlement, chunks: int) -> None:
        """See :class:`bgem3_retrieval.index.report.Observer`."""

    def progressed(self, report: IndexReport, done_bytes: int, total_bytes: int) -> None:
        """See :class:`bgem3_retrieval.index.report.Observer`."""
        self.progress.append((done_bytes, total_bytes))
        self.reports.append(replace(report))


@dataclass
class Notes:
    """A folder of notes, and a store that it is indexed into."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    transport: WatchedTransport = field(default_factory=WatchedTransport)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files into the folder."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def source(self, name: str) -> str:
        """The name of a file, or a row, in the index."""
        return f"{self.folder.resolve().as_posix()}/{name}"

    def index(
        self,
        *paths: Path,
        options: CollectionOptions = SMALL_CHUNKS,
        store: Store | None = None,
        **arguments: Any,
    ) -> IndexReport:
        """Index the folder, or some paths, once, with a client of its own."""
        corpus = arguments.pop("corpus", None) or Corpus(paths or (self.folder,))
        self.transport.closed = False
        with Client(transport=self.transport, retries=RetryPolicy(attempts=1)) as client:
            return Indexer(client, store or self.store).index(
                COLLECTION, corpus, options, **arguments
            )

    def fresh(self) -> MemoryStore:
        """A store that the folder was indexed into once."""
        notes = Notes(self.folder)
        notes.index()
        return notes.store

    @property
    def sources(self) -> list[str]:
        """The documents in the store, relative to the folder."""
        prefix = self.source("")
        return [state.source.removeprefix(prefix) for state in self.store.sources(COLLECTION)]


def state(store: MemoryStore) -> list[tuple[Any, ...]]:
    """All that a store has, to the last bit."""
    return [_parts(point) for point in store.points(COLLECTION)]


def counts(report: IndexReport) -> tuple[int, int, int, int, int]:
    """Added, changed, unchanged, removed and skipped."""
    return (
        report.added,
        report.changed,
        report.unchanged,
        report.removed,
        report.skipped_count,
    )


def words(name: str, count: int) -> str:
    """A text of sentences of five words, none of which is in another text."""
    sentences = [f"{name}{start} is a sentence of {name}." for start in range(0, count, 5)]
    return " ".join(sentences)


def _parts(point: Point) -> tuple[Any, ...]:
    stored = point.stored
    return (
        stored.id,
        stored.chunk,
        stored.fingerprint,
        stored.chunk_count,
        dict(stored.metadata),
        point.dense.tobytes(),
        point.sparse.as_dict(),
        None if point.colbert is None else point.colbert.tobytes(),
    )


def texts(store: MemoryStore, source: str) -> Sequence[str]:
    """The chunks of one document, in order."""
    return [
        point.stored.chunk.text
        for point in store.points(COLLECTION)
        if point.stored.chunk.source == source
    ]
