"""The command's own part: encoded shards in, a folder that goes on where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from bgem3_retrieval.bulk.corpus.display import CorpusDisplay
from bgem3_retrieval.bulk.corpus.folder import CorpusFolder
from bgem3_retrieval.bulk.corpus.manifest import Shard
from bgem3_retrieval.bulk.corpus.shard_file import sync_folder
from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.bulk.ray.rows import Cut, result_of
from bgem3_retrieval.bulk.ray.worker import EncodedShard
from bgem3_retrieval.bulk.rejections import as_json_line


def take_shards(rows: Iterable[pa.Table], folder: CorpusFolder, display: CorpusDisplay) -> None:
    """Give every shard its place and say so in the manifest; the folder is complete then.

    Args:
        rows: What came of each shard, in order, from where the folder's manifest ends.
        folder: Begun.
        display: Hears of a shard's texts when the shard is whole.

    Raises:
        BgeM3Error: What ended the work on a node.
        RejectedLineError: From the display.
        OutputError: A file cannot be written.
    """
    for row in rows:
        cut, encoded = result_of(row)
        for message in encoded.messages:
            display.say(f"{message} (seen from {encoded.node})")
        _finish(cut, encoded, folder, display)
    folder.complete()


def _finish(cut: Cut, encoded: EncodedShard, folder: CorpusFolder, display: CorpusDisplay) -> None:
    for rejection in encoded.rejections:
        display.rejected(rejection)
        folder.reject(as_json_line(rejection))
    rejected_bytes = folder.sync_rejected()
    with writing(str(folder.path / cut.name)):
        encoded.path.replace(folder.path / cut.name)
        sync_folder(folder.path)
    shard = Shard(
        file=cut.name,
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
    display.answered(shard.rows, cut.read_bytes)
    display.shard_written(shard)
