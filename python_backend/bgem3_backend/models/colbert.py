"""``bge_m3_colbert``: hidden states to ColBERT token vectors."""

from __future__ import annotations

from collections.abc import Callable
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
    Tensor,
)
from bgem3_backend.models.head_model import HeadModel
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import input_integers, input_torch, output_torch
from bgem3_backend.packed_texts import check_hidden_states_shape, check_lengths


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

        device = self.linear.device
        output = self._head(hidden_states.to(device), torch.from_numpy(lengths).to(device).long())
        # The ensemble has this model twice, once for each precision, so that a request for one
        # runs, and is sent, that one alone.
        makers: dict[Tensor, Callable[[], torch.Tensor]] = {
            COLBERT: lambda: output.vectors,
            COLBERT_FP16: lambda: output.vectors.half(),
            COLBERT_LENGTHS: lambda: output.lengths,
        }
        names = request.requested_output_names()
        return [
            output_torch(tensor, make()) for tensor, make in makers.items() if tensor.name in names
        ]
