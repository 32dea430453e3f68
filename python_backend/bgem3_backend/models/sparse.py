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
from bgem3_backend.heads import LinearHead
from bgem3_backend.models.metrics import not_finite_counter
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import (
    Batch,
    input_integers,
    input_torch,
    output_torch,
)
from bgem3_backend.packed_texts import (
    PackedTexts,
    check_hidden_states_shape,
    check_ids,
    check_lengths,
)
from bgem3_backend.settings import BackendSettings
from bgem3_backend.sparse import SparseHead


class TritonPythonModel:
    """Applies the sparse head where the hidden states are."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the head."""
        config = ModelConfig.from_arguments(arguments)
        torch.set_num_threads(BackendSettings().head_threads)
        self._max_length_tokens = config.integer("max_length_tokens")
        self._vocabulary_size = config.integer("vocabulary_size")
        self._linear = LinearHead.load(
            config.version_directory / "sparse_linear.safetensors", torch.device(config.device)
        )
        self._head = SparseHead(
            self._linear, config.integers("ignored_token_ids"), self._vocabulary_size
        )
        self._not_finite = not_finite_counter(SPARSE.name)

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each on its own."""
        batch = Batch(requests, self._not_finite)
        for position, outputs in batch.read(self._outputs):
            batch.answer(position, outputs)
        return batch.responses

    def _outputs(self, request: Any) -> list[Any]:
        hidden_states = input_torch(request, HIDDEN_STATES)
        texts = PackedTexts(input_integers(request, INPUT_IDS), input_integers(request, LENGTHS))
        check_hidden_states_shape(tuple(hidden_states.shape), self._linear.hidden_size)
        check_lengths(texts.lengths, hidden_states.shape[0], self._max_length_tokens)
        check_lengths(texts.lengths, texts.input_ids.size, self._max_length_tokens)
        check_ids(texts, self._vocabulary_size)

        device = self._linear.device
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
