"""The driver's part: windows in, whole shards out, from where an earlier run stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bgem3_retrieval.bulk.corpus.folder import CorpusFolder, shard_name
from bgem3_retrieval.bulk.corpus.job import CorpusObserver
from bgem3_retrieval.bulk.corpus.manifest import Shard
from bgem3_retrieval.bulk.corpus.shard_file import sync_folder
from bgem3_retrieval.bulk.corpus.windows import Window
from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.bulk.ray.crew import Crew
from bgem3_retrieval.bulk.ray.library import ray_library
from bgem3_retrieval.bulk.ray.worker import EncodedShard
from bgem3_retrieval.bulk.records import START, Position
from bgem3_retrieval.bulk.rejections import as_json_line


@dataclass
class _Cut:
    """A shard's windows, in the object store."""

    number: int
    windows: list[Any] = field(default_factory=list)
    read_bytes: int = 0
    end: Position = START
    end_bytes: int = 0


def encode_corpus_on_ray(
    windows: Iterable[Window], crew: Crew, folder: CorpusFolder, observer: CorpusObserver
) -> None:
    """Encode all windows and write them in their order; the folder is complete then.

    Args:
        windows: From where the folder's manifest ends.
        crew: Encodes them.
        folder: Begun.
        observer: See there; it hears of a shard's texts when the shard is whole.

    Raises:
        InvalidInputError: From reading, and from the observer.
        ClusterError: As :meth:`Crew.result`.
        ServerError: As :meth:`Crew.result`.
        OutputError: A file cannot be written.
    """
    sent: deque[_Cut] = deque()

    def finish_first() -> None:
        # Its windows leave the object store with it.
        cut = sent.popleft()
        _finish(cut, crew.result(cut.number), folder, observer)

    for cut in _cuts(windows, len(folder.manifest.shards)):
        crew.send(cut.number, shard_name(cut.number), cut.windows)
        sent.append(cut)
        while len(sent) >= crew.shards_ahead:
            finish_first()
    while sent:
        finish_first()
    folder.complete()


def _cuts(windows: Iterable[Window], number: int) -> Iterator[_Cut]:
    put = ray_library().put
    cut = _Cut(number)
    for window in windows:
        cut.windows.append(put(window))
        cut.read_bytes += window.size_bytes
        cut.end, cut.end_bytes = window.end, window.end_bytes
        if window.ends_shard:
            yield cut
            cut = _Cut(cut.number + 1)
    if cut.windows:
        yield cut


def _finish(
    cut: _Cut, encoded: EncodedShard, folder: CorpusFolder, observer: CorpusObserver
) -> None:
    """Give a shard its name, and say in the manifest that it is whole."""
    for rejection in encoded.rejections:
        observer.rejected(rejection)
        folder.reject(as_json_line(rejection))
    rejected_bytes = folder.sync_rejected()
    name = shard_name(cut.number)
    with writing(str(folder.path / name)):
        encoded.path.replace(folder.path / name)
        sync_folder(folder.path)
    shard = Shard(
        file=name,
        first_line=folder.manifest.lines,
        **vars(encoded.counts),
        size_bytes=encoded.size_bytes,
        sha256=encoded.sha256,
        end_input=cut.end.input,
        end_number=cut.end.number,
        end_bytes=cut.end_bytes,
        rejected_bytes=rejected_bytes,
    )
    folder.add(shard)
    observer.answered(shard.rows, cut.read_bytes)
    observer.shard_written(shard)
