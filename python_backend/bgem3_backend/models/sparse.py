"""``bge_m3_sparse``: hidden states to sparse lexical weights."""

from __future__ import annotations

from typing import Any

import torch

from bgem3_backend.contract import (
    HIDDEN_STATES,
    INPUT_IDS,
    LENGTHS,
    SPARSE,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
)
from bgem3_backend.models.head_model import HeadModel
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.torch_tensors import input_integers, input_torch, output_torch
from bgem3_backend.packed_texts import (
    PackedTexts,
    check_hidden_states_shape,
    check_ids,
    check_lengths,
)
from bgem3_backend.sparse import SparseHead


class TritonPythonModel(HeadModel):
    """Applies the sparse head where the hidden states are."""

    name = SPARSE.name
    file = "sparse_linear.safetensors"

    def prepare(self, config: ModelConfig) -> None:
        """See :class:`HeadModel`."""
        self._vocabulary_size = config.integer("vocabulary_size")
        self._head = SparseHead(
            self.linear, config.integers("ignored_token_ids"), self._vocabulary_size
        )

    def outputs(self, request: Any) -> list[Any]:
        """See :class:`HeadModel`."""
        hidden_states = input_torch(request, HIDDEN_STATES)
        texts = PackedTexts(input_integers(request, INPUT_IDS), input_integers(request, LENGTHS))
        check_hidden_states_shape(tuple(hidden_states.shape), self.linear.hidden_size)
        check_lengths(texts.lengths, hidden_states.shape[0], self.max_length_tokens)
        check_lengths(texts.lengths, texts.input_ids.size, self.max_length_tokens)
        check_ids(texts.input_ids, self._vocabulary_size, texts.lengths)

        device = self.linear.device
        output = self._head(
            hidden_states.to(device),
            torch.from_numpy(texts.input_ids).to(device).long(),
            torch.from_numpy(texts.lengths).to(device).long(),
        )
        return [
            output_torch(SPARSE_INDICES, output.indices),
            output_torch(SPARSE_VALUES, output.values),
            output_torch(SPARSE_LENGTHS, output.lengths),
        ]
