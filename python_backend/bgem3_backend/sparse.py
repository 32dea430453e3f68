"""Sparse lexical weights: one weight for each distinct token of a text.

Semantics of FlagEmbedding 1.4.2 (``M3Embedder._process_token_weights``): relu of a linear layer;
cls, eos, pad and unk left out; weights above zero; the maximum where a token stands more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bgem3_backend.heads import LinearHead, check_finite


@dataclass(frozen=True)
class SparseOutput:
    """The sparse weights of the texts of one request, concatenated.

    Attributes:
        indices: INT32 [S], token ids, ascending within a text.
        values: FP32 [S], above zero.
        lengths: INT32 [N], entries of each text, which may be 0.
    """

    indices: torch.Tensor
    values: torch.Tensor
    lengths: torch.Tensor


class SparseHead:
    """From hidden states to sparse weights, without a Python loop over tokens or texts."""

    def __init__(
        self, linear: LinearHead, ignored_ids: tuple[int, ...], vocabulary_size: int
    ) -> None:
        """Prepare the head.

        Args:
            linear: H to 1.
            ignored_ids: The special tokens that never get a weight.
            vocabulary_size: Above every token id.
        """
        self._linear = linear
        self._vocabulary_size = vocabulary_size
        self._is_counted = torch.ones(vocabulary_size, dtype=torch.bool, device=linear.device)
        self._is_counted[list(ignored_ids)] = False

    def __call__(
        self, hidden_states: torch.Tensor, input_ids: torch.Tensor, lengths: torch.Tensor
    ) -> SparseOutput:
        """Compute the weights of one request.

        Args:
            hidden_states: [T, H] on the head's device.
            input_ids: Integer [T] on the same device, checked to be in the vocabulary.
            lengths: Integer [N] on the same device, adding up to T.

        Raises:
            NotFiniteError: A weight is NaN or infinite, in which texts.
        """
        weights = self._linear(hidden_states).squeeze(-1)
        # Of all of them: relu would turn minus infinity into an innocent zero.
        check_finite("a lexical weight", weights, lengths)

        # What is above zero, relu leaves as it is.
        counted = (self._is_counted[input_ids] & (weights > 0)).nonzero().squeeze(1)
        texts = torch.repeat_interleave(lengths)
        # One key for each (text, token): unique() sorts them, so both come out in order.
        keys, entries = torch.unique(
            (texts * self._vocabulary_size + input_ids)[counted], return_inverse=True
        )
        values = torch.zeros(keys.numel(), dtype=torch.float32, device=keys.device)
        values.scatter_reduce_(0, entries, weights[counted], reduce="amax")
        return SparseOutput(
            indices=(keys % self._vocabulary_size).int(),
            values=values,
            lengths=torch.bincount(keys // self._vocabulary_size, minlength=lengths.numel()).int(),
        )
