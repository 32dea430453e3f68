"""Sparse lexical weights: arrays, from which dictionaries are made only when someone asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_client.ragged import Offsets, concatenate_offsets, take


@dataclass(frozen=True, eq=False)
class SparseEmbedding:
    """One text's lexical weights.

    Attributes:
        indices: int32 [s], token ids, each once.
        values: float32 [s], their weights, above 0.
        token_texts: The text of each id, for `tokens`; None unless it was asked for.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    token_texts: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def as_dict(self) -> dict[int, float]:
        """Return the weight of each token id."""
        return dict(zip(self.indices.tolist(), self.values.tolist(), strict=True))

    def tokens(self) -> dict[str, float]:
        """Return the weight of each token's text; the larger one where two ids read the same.

        Raises:
            InvalidInputError: The texts were encoded without ``return_tokens=True``.
        """
        if self.token_texts is None:
            raise InvalidInputError(
                "the tokens' texts were not asked for: encode(..., return_tokens=True)"
            )
        weights: dict[str, float] = {}
        for token_id, weight in self.as_dict().items():
            text = self.token_texts[token_id]
            weights[text] = max(weight, weights.get(text, 0.0))
        return weights


@dataclass(frozen=True, eq=False)
class SparseEmbeddings(Sequence[SparseEmbedding]):
    """The lexical weights of N texts, one after the other in flat arrays.

    ``(values, indices, offsets)`` are the three arrays of a CSR matrix with a row for each text.

    Attributes:
        indices: int32 [S], token ids; within a text each id is there once.
        values: float32 [S], their weights.
        offsets: int64 [N + 1]; text ``i`` has the entries ``offsets[i]:offsets[i + 1]``.
        token_texts: The text of each id; None unless the tokens were asked for.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    offsets: Offsets
    token_texts: Mapping[int, str] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, key: int) -> SparseEmbedding: ...

    @overload
    def __getitem__(self, key: slice) -> SparseEmbeddings: ...

    def __getitem__(self, key: int | slice) -> SparseEmbedding | SparseEmbeddings:
        if isinstance(key, slice):
            entries, offsets = take(self.offsets, key)
            return SparseEmbeddings(
                self.indices[entries], self.values[entries], offsets, self.token_texts
            )
        row = range(len(self))[key]
        entries = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return SparseEmbedding(self.indices[entries], self.values[entries], self.token_texts)

    @classmethod
    def concatenate(cls, parts: Sequence[SparseEmbeddings]) -> SparseEmbeddings:
        """Return the texts of all parts (one at least), in order."""
        if len(parts) == 1:
            return parts[0]
        tables = [part.token_texts for part in parts if part.token_texts is not None]
        token_texts = {token_id: text for table in tables for token_id, text in table.items()}
        return cls(
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
            concatenate_offsets([part.offsets for part in parts]),
            token_texts if len(tables) == len(parts) else None,
        )
