"""The rows of the pipeline: a row is a shard, as texts on its way there, as what came of it back.

Ray Data moves Arrow tables; what is in them only this package reads, pickled. Each window is a
value of its own, which is read out of shared memory when its turn comes.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from bgem3_client.errors import BgeM3Error
from bgem3_retrieval.bulk.corpus.folder import shard_name
from bgem3_retrieval.bulk.corpus.windows import Window
from bgem3_retrieval.bulk.records import START, Position

if TYPE_CHECKING:
    from bgem3_retrieval.bulk.ray.worker import EncodedShard

_HEAD = "head"
_WINDOWS = "windows"


@dataclass
class Cut:
    """Where a shard begins and ends.

    Attributes:
        number: Of the shard; the first is 0.
        read_bytes: Bytes of the inputs that it comes from.
        end: Where the inputs go on after it.
        end_bytes: Bytes of all inputs up to there.
        pickled: Its windows, each pickled, wherever they lie.
    """

    number: int
    read_bytes: int = 0
    end: Position = START
    end_bytes: int = 0
    pickled: Sequence[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the shard is going to be called."""
        return shard_name(self.number)

    def windows(self) -> Iterator[Window]:
        """Yield the windows; each is unpickled when it is asked for."""
        return (pickle.loads(pickled) for pickled in self.pickled)  # noqa: S301 - our own  # nosec B301


def shard_rows(windows: Iterable[Window], number: int) -> Iterator[pa.Table]:
    """Yield a row for each shard; the last may be what ended the reading.

    Args:
        windows: From where the first shard begins.
        number: Of the first shard.
    """
    cut, pickled = Cut(number), list[bytes]()
    try:
        for window in windows:
            pickled.append(pickle.dumps(window))
            cut.read_bytes += window.size_bytes
            cut.end, cut.end_bytes = window.end, window.end_bytes
            if window.ends_shard:
                yield _row(cut, pickled)
                cut, pickled = Cut(cut.number + 1), []
    except BgeM3Error as error:
        yield _row(error, [])
        return
    if pickled:
        yield _row(cut, pickled)


def cut_of(row: pa.Table) -> Cut | BgeM3Error:
    """Return the shard of a row, its windows still where they lie, or what ended the reading."""
    cut: Cut | BgeM3Error = _unpickled(row, _HEAD)
    if isinstance(cut, Cut):
        cut.pickled = _Buffers(row[_WINDOWS].chunk(0).flatten())
    return cut


def result_row(cut: Cut | BgeM3Error, result: EncodedShard | BgeM3Error) -> pa.Table:
    """Return the row of a shard that is written, or of an error."""
    if isinstance(cut, Cut):
        cut.pickled = ()
    return _row((cut, result), [])


def result_of(row: pa.Table) -> tuple[Cut, EncodedShard]:
    """Return what came of a shard.

    Raises:
        BgeM3Error: What ended the work instead.
    """
    cut, result = _unpickled(row, _HEAD)
    if isinstance(result, BgeM3Error):
        raise result
    return cut, result


class _Buffers(Sequence[Any]):
    """Values of an Arrow array as what can be unpickled, without a copy."""

    def __init__(self, values: pa.LargeBinaryArray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401 - of a sequence
        return self._values[place].as_buffer()


def _row(head: Any, windows: list[bytes]) -> pa.Table:  # noqa: ANN401 - whatever is pickled
    return pa.table(
        {
            _HEAD: pa.array([pickle.dumps(head)], pa.large_binary()),
            _WINDOWS: pa.array([windows], pa.large_list(pa.large_binary())),
        }
    )


def _unpickled(row: pa.Table, column: str) -> Any:  # noqa: ANN401 - whatever was pickled
    return pickle.loads(row[column][0].as_buffer())  # noqa: S301 - our own  # nosec B301
