"""``bge_m3_colbert``: hidden states to ColBERT token vectors, or as they are."""

from __future__ import annotations

from typing import Any

import torch

from bgem3_backend.colbert import ColbertHead
from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    COLBERT_HEAD,
    COLBERT_LENGTHS,
    HIDDEN_STATES,
    LENGTHS,
    TOKEN_STATES,
)
from bgem3_backend.models.head_model import HeadModel
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.torch_tensors import input_integers, input_torch, output_torch
from bgem3_backend.packed_texts import check_hidden_states_shape, check_lengths
from bgem3_backend.token_states import token_states


class TritonPythonModel(HeadModel):
    """Applies the ColBERT head where the hidden states are."""

    name = COLBERT_HEAD.name
    file = "colbert_linear.safetensors"

    def prepare(self, config: ModelConfig) -> None:
        """See :class:`HeadModel`."""
        self._head = ColbertHead(self.linear)

    def outputs(self, request: Any) -> list[Any]:
        """See :class:`HeadModel`."""
        hidden_states = input_torch(request, HIDDEN_STATES)
        lengths = input_integers(request, LENGTHS)
        check_hidden_states_shape(tuple(hidden_states.shape), self.linear.hidden_size)
        check_lengths(lengths, hidden_states.shape[0], self.max_length_tokens)

        # The ensemble has this model three times, for the vectors in each precision and for the
        # states, so that a request for one of them runs, and is sent, that one alone.
        names = set(request.requested_output_names())
        outputs = []
        if TOKEN_STATES.name in names:
            outputs.append(
                output_torch(TOKEN_STATES, token_states(hidden_states, torch.from_numpy(lengths)))
            )
        if names == {TOKEN_STATES.name}:
            return outputs

        device = self.linear.device
        output = self._head(hidden_states.to(device), torch.from_numpy(lengths).to(device).long())
        if COLBERT.name in names:
            outputs.append(output_torch(COLBERT, output.vectors))
        if COLBERT_FP16.name in names:
            outputs.append(output_torch(COLBERT_FP16, output.vectors.half()))
        if COLBERT_LENGTHS.name in names:
            outputs.append(output_torch(COLBERT_LENGTHS, output.lengths))
        return outputs
