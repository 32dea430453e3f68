"""ColBERT representations: one vector a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from bgem3_client.ragged import Offsets, concatenate_offsets, take

TokenVectors: TypeAlias = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class ColbertEmbeddings(Sequence[TokenVectors]):
    """The token vectors of N texts; item ``i`` is a view [t, d] on ``vectors``.

    A text of ``n`` tokens has ``t = n - 1`` vectors: the first token (CLS) has none, the last
    (EOS) has one.

    Attributes:
        vectors: float32 or float16 [C, d], each of length 1, text after text.
        offsets: int64 [N + 1]; text ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    """

    vectors: TokenVectors
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, key: int) -> TokenVectors: ...

    @overload
    def __getitem__(self, key: slice) -> ColbertEmbeddings: ...

    def __getitem__(self, key: int | slice) -> TokenVectors | ColbertEmbeddings:
        if isinstance(key, slice):
            rows, offsets = take(self.offsets, key)
            return ColbertEmbeddings(self.vectors[rows], offsets)
        row = range(len(self))[key]
        return self.vectors[self.offsets[row] : self.offsets[row + 1]]

    @classmethod
    def concatenate(cls, parts: Sequence[ColbertEmbeddings]) -> ColbertEmbeddings:
        """Return the texts of all parts (one at least), in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.vectors for part in parts]),
            concatenate_offsets([part.offsets for part in parts]),
        )
