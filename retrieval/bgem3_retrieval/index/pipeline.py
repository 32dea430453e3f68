"""Reading, splitting, encoding and writing, all at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from typing import Final

from bgem3_retrieval.index.encoding import ChunkEncoder, EncodedBatch, batches
from bgem3_retrieval.index.items import ReadItem
from bgem3_retrieval.index.splitting import SplitsDocuments, split_window, windows
from bgem3_retrieval.index.threads import ahead, in_threads

# A splitter waits for counts of tokens most of the time: two keep each other company.
_SPLITTING_THREADS: Final = 2
_WINDOWS_HELD: Final = 4
_BATCHES_AHEAD: Final = 4
# As many as a client has on their way; the others wait to be written.
_ENCODING_THREADS: Final = 8
_ENCODED_HELD: Final = 16


def run_pipeline(
    items: Iterator[ReadItem],
    splitter: SplitsDocuments,
    encoder: ChunkEncoder,
    write: Callable[[EncodedBatch], None],
) -> None:
    """Bring all items to their end, in order.

    One thread reads, two split, eight encode, and the caller's writes. What is held is bounded:
    four windows of text, twenty batches, and the largest document. When it
    ends early, it has waited for the requests that were on their way.

    Args:
        items: Fetched by a thread.
        splitter: Of the documents among them.
        encoder: Of their chunks.
        write: Called with each batch, in order.

    Raises:
        BgeM3Error: What reading, splitting, encoding or writing raises, once all that came
            before it is written.
    """
    split_items = in_threads(
        partial(split_window, splitter=splitter),
        windows(items),
        _SPLITTING_THREADS,
        _WINDOWS_HELD,
        "split",
    )
    # The last is closed first, so that no thread is in what is closed.
    with (
        closing(split_items) as split,
        closing(ahead(batches(chain.from_iterable(split)), _BATCHES_AHEAD, "read")) as waiting,
        closing(
            in_threads(encoder.encode, waiting, _ENCODING_THREADS, _ENCODED_HELD, "encode")
        ) as encoded,
    ):
        for batch in encoded:
            write(batch)
