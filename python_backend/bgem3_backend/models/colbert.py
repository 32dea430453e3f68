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
from bgem3_backend.heads import LinearHead
from bgem3_backend.models.metrics import not_finite_counter
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import (
    Batch,
    input_integers,
    input_torch,
    output_torch,
)
from bgem3_backend.packed_texts import check_hidden_states_shape, check_lengths
from bgem3_backend.settings import BackendSettings


class TritonPythonModel:
    """Applies the ColBERT head where the hidden states are."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the head."""
        config = ModelConfig.from_arguments(arguments)
        torch.set_num_threads(BackendSettings().head_threads)
        self._max_length_tokens = config.integer("max_length_tokens")
        self._linear = LinearHead.load(
            config.version_directory / "colbert_linear.safetensors", torch.device(config.device)
        )
        self._head = ColbertHead(self._linear)
        self._not_finite = not_finite_counter(COLBERT_HEAD.name)

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each on its own."""
        batch = Batch(requests, self._not_finite)
        for position, outputs in batch.read(self._outputs):
            batch.answer(position, outputs)
        return batch.responses

    def _outputs(self, request: Any) -> list[Any]:
        hidden_states = input_torch(request, HIDDEN_STATES)
        lengths = input_integers(request, LENGTHS)
        check_hidden_states_shape(tuple(hidden_states.shape), self._linear.hidden_size)
        check_lengths(lengths, hidden_states.shape[0], self._max_length_tokens)

        device = self._linear.device
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
