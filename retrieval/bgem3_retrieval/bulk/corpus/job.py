"""The whole way: records in, whole shards out, from where an earlier run stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import chain
from math import ceil
from typing import Any, Protocol

from bgem3_client.limits import Limits
from bgem3_retrieval.bulk.corpus.folder import CorpusFolder, shard_name
from bgem3_retrieval.bulk.corpus.manifest import Shard
from bgem3_retrieval.bulk.corpus.shard_builder import ShardBuilder
from bgem3_retrieval.bulk.corpus.window_encoder import WindowAnswers, WindowEncoder
from bgem3_retrieval.bulk.corpus.windows import Window, WindowLimits
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.bulk.rejections import as_json_line


class CorpusObserver(Protocol):
    """Is told what happens, from several threads; what it raises at a rejection ends the job."""

    def answered(self, texts: int, read_bytes: float) -> None:
        """Some more texts were encoded, from so many bytes of the inputs."""

    def rejected(self, rejection: Rejection) -> None:
        """A line becomes no row. Called in the order of the lines."""

    def shard_written(self, shard: Shard) -> None:
        """A shard is whole."""


def encode_corpus(
    windows: Iterable[Window],
    encoder: WindowEncoder,
    folder: CorpusFolder,
    observer: CorpusObserver,
    windows_ahead: int,
) -> None:
    """Encode all windows and write them in their order; the folder is complete then.

    Args:
        windows: From where the folder's manifest ends.
        encoder: Sends their texts.
        folder: Begun.
        observer: See there.
        windows_ahead: Windows that are sent before the first of them is answered; as many are
            in memory, and two more that are written.

    Raises:
        InvalidInputError: From reading, and from the observer.
        ServerError: As :meth:`WindowEncoder.encode`.
        OutputError: A file cannot be written.
    """
    with _Shards(folder, encoder, observer) as shards:
        sent: deque[tuple[Window, Future[WindowAnswers]]] = deque()
        # Writing has a thread of its own: servers do not wait for a disk, nor it for them.
        with ThreadPoolExecutor(1, "write-shards") as executor:
            written: deque[Future[None]] = deque()
            try:
                for window in chain(windows, [None]):
                    if window is not None:
                        sent.append((window, _send(window, encoder, observer)))
                    while sent and (window is None or len(sent) > windows_ahead):
                        answered, answers = sent.popleft()
                        while len(written) >= 2:
                            written.popleft().result()
                        _wait(answers, written)
                        written.append(executor.submit(shards.add, answered, answers.result()))
                for task in written:
                    task.result()
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise
        shards.finish()


def _wait(answers: Future[WindowAnswers], written: Iterable[Future[None]]) -> None:
    """Return when there are answers; raise at once what writing fails with meanwhile."""
    while not answers.done():
        unfinished: list[Future[Any]] = [task for task in written if not task.done()]
        wait([answers, *unfinished], return_when=FIRST_COMPLETED)
        for task in written:
            if task.done():
                task.result()


def windows_ahead(endpoints: int, limits: Limits, window: WindowLimits) -> int:
    """Return how many windows keep so many servers busy while the first of them is finished."""
    return 2 + ceil(endpoints * limits.max_in_flight / window.requests(limits))


def _send(
    window: Window, encoder: WindowEncoder, observer: CorpusObserver
) -> Future[WindowAnswers]:
    # The inputs' bytes are divided among the texts by how long they are: so is the work.
    weights = [len(record.text) + 1 for record in window.records]
    bytes_per_weight = window.size_bytes / max(sum(weights), 1)

    def answered(rows: Iterable[int]) -> None:
        taken = [weights[row] for row in rows]
        observer.answered(len(taken), sum(taken) * bytes_per_weight)

    return encoder.send([record.text for record in window.records], answered)


class _Shards:
    """Turns windows into files, one after the other."""

    def __init__(
        self, folder: CorpusFolder, encoder: WindowEncoder, observer: CorpusObserver
    ) -> None:
        self._folder = folder
        self._encoder = encoder
        self._observer = observer
        self._builder: ShardBuilder | None = None
        self._last: Window | None = None
        self._broken = False

    def add(self, window: Window, answers: WindowAnswers) -> None:
        """Write what came of a window; nothing any more after one that could not be written."""
        if self._broken:
            return
        self._broken = True
        self._add(window, answers)
        self._broken = False

    def finish(self) -> None:
        """Write what is left; the folder is complete."""
        self._finish_shard()
        self._folder.complete()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        if self._builder is not None:
            self._builder.drop()

    def _add(self, window: Window, answers: WindowAnswers) -> None:
        if self._builder is None:
            name = shard_name(len(self._folder.manifest.shards))
            self._builder = ShardBuilder(self._folder.path / name, self._encoder)
        for rejection in self._builder.add(window, answers):
            self._observer.rejected(rejection)
            self._folder.reject(as_json_line(rejection))
        self._last = window
        if window.ends_shard:
            self._finish_shard()

    def _finish_shard(self) -> None:
        if self._builder is None or self._last is None:
            return
        manifest = self._folder.manifest
        # What is in the manifest lies on the disk: first the rows, then that they are there.
        rejected_bytes = self._folder.sync_rejected()
        size_bytes, sha256 = self._builder.finish()
        shard = Shard(
            file=shard_name(len(manifest.shards)),
            first_line=manifest.lines,
            **vars(self._builder.counts),
            size_bytes=size_bytes,
            sha256=sha256,
            end_input=self._last.end.input,
            end_number=self._last.end.number,
            end_bytes=self._last.end_bytes,
            rejected_bytes=rejected_bytes,
        )
        self._builder = None
        self._folder.add(shard)
        self._observer.shard_written(shard)
