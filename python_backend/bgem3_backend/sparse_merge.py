"""From one number for each token to sparse lexical weights, where the graph holds the linear layer.

The second half of :mod:`bgem3_backend.sparse`, in NumPy: a process that does no more than this
needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bgem3_backend.errors import NotFiniteError
from bgem3_backend.packed_texts import Int32Array, PackedTexts, texts_with


@dataclass(frozen=True)
class SparseWeights:
    """The sparse weights of the texts of one request, concatenated.

    Attributes:
        indices: INT32 [S], token ids, ascending within a text.
        values: FP32 [S], above zero.
        lengths: INT32 [N], entries of each text, which may be 0.
    """

    indices: Int32Array
    values: npt.NDArray[np.float32]
    lengths: Int32Array


class SparseMerge:
    """Keeps the largest weight of each token id of a text, without a loop over tokens or texts."""

    def __init__(self, ignored_ids: tuple[int, ...], vocabulary_size: int) -> None:
        """Prepare the merge.

        Args:
            ignored_ids: The special tokens that never get a weight.
            vocabulary_size: Above every token id.
        """
        self._vocabulary_size = vocabulary_size
        self._is_counted = np.ones(vocabulary_size, np.bool_)
        self._is_counted[list(ignored_ids)] = False

    def __call__(self, token_weights: npt.NDArray[np.float32], texts: PackedTexts) -> SparseWeights:
        """Merge the weights of one request.

        Args:
            token_weights: FP32 [T], before relu.
            texts: Their tokens, checked to be in the vocabulary.

        Raises:
            NotFiniteError: A weight is NaN or infinite, in which texts.
        """
        finite = np.isfinite(token_weights)
        if not finite.all():
            raise NotFiniteError("a lexical weight", texts_with(~finite, texts.lengths))
        numbers = np.repeat(np.arange(texts.lengths.size), texts.lengths)
        counted = self._is_counted[texts.input_ids] & (token_weights > 0)
        keys = numbers[counted] * self._vocabulary_size + texts.input_ids[counted]
        order = np.argsort(keys, kind="stable")
        keys, starts = np.unique(keys[order], return_index=True)
        values = token_weights[counted][order]
        entries = np.bincount(keys // self._vocabulary_size, minlength=texts.lengths.size)
        return SparseWeights(
            indices=(keys % self._vocabulary_size).astype(np.int32),
            # reduceat() wants at least one place to begin at.
            values=np.maximum.reduceat(values, starts) if starts.size else values,
            lengths=entries.astype(np.int32),
        )
