"""Rows of unlike length in one flat array: row ``i`` is ``offsets[i]:offsets[i + 1]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]
Rows = TypeVar("Rows", bound=NDArray[Any])


@dataclass(frozen=True, eq=False)
class RaggedRows(Sequence[Rows], Generic[Rows]):
    """A matrix for each of N texts, all in one array; item ``i`` is a view on ``vectors``.

    Attributes:
        vectors: [rows of all texts, width], text after text.
        offsets: int64 [N + 1]; text ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    """

    vectors: Rows
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, key: int) -> Rows: ...

    @overload
    def __getitem__(self, key: slice) -> Self: ...

    def __getitem__(self, key: int | slice) -> Rows | Self:
        if isinstance(key, slice):
            rows, offsets = take(self.offsets, key)
            return type(self)(self._rows(rows), offsets)
        row = range(len(self))[key]
        return self._rows(slice(self.offsets[row], self.offsets[row + 1]))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the texts of all parts (one at least), in order."""
        if len(parts) == 1:
            return parts[0]
        vectors: Any = np.concatenate([part.vectors for part in parts])
        return cls(vectors, concatenate_offsets([part.offsets for part in parts]))

    def _rows(self, which: slice | NDArray[np.int64]) -> Rows:
        return cast(Rows, self.vectors[which])


def offsets_of(lengths: NDArray[np.integer[Any]]) -> Offsets:
    """Return where each row starts and the last one ends: int64 [N + 1] for lengths [N]."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def take(offsets: Offsets, rows: slice) -> tuple[slice | NDArray[np.int64], Offsets]:
    """Return what to index the flat array with to keep some rows, and their new offsets."""
    start, stop, step = rows.indices(len(offsets) - 1)
    if step == 1:
        stop = max(start, stop)
        # A view: nothing is copied.
        return slice(int(offsets[start]), int(offsets[stop])), offsets[start : stop + 1] - offsets[
            start
        ]
    kept = range(start, stop, step)
    positions = [np.arange(offsets[row], offsets[row + 1]) for row in kept]
    lengths = np.array([len(row) for row in positions], dtype=np.int64)
    return np.concatenate([*positions, np.empty(0, dtype=np.int64)]), offsets_of(lengths)


def concatenate_offsets(parts: Sequence[Offsets]) -> Offsets:
    """Return the offsets of all parts' rows, one part after the other."""
    return offsets_of(np.concatenate([np.diff(part) for part in parts]))
