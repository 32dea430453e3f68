"""``bge_m3_sparse`` behind a graph that holds the heads: token weights to lexical weights."""

from __future__ import annotations

from typing import Any

from bgem3_backend.contract import (
    INPUT_IDS,
    LENGTHS,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_MERGE,
    SPARSE_VALUES,
    TOKEN_WEIGHTS,
)
from bgem3_backend.models.metrics import close_metrics, nonfinite_counter
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import Batch, input_array, output_array
from bgem3_backend.packed_texts import PackedTexts, check_ids, check_lengths
from bgem3_backend.sparse_merge import SparseMerge


class TritonPythonModel:
    """Answers each request on its own; its process needs neither torch nor a GPU."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Read what the tokens are to be held to."""
        config = ModelConfig.from_arguments(arguments)
        self._max_length_tokens = config.integer("max_length_tokens")
        self._vocabulary_size = config.integer("vocabulary_size")
        self._merge = SparseMerge(config.integers("ignored_token_ids"), self._vocabulary_size)
        self._nonfinite_texts = nonfinite_counter(SPARSE_MERGE.name)

    def finalize(self) -> None:
        """Let go of what Triton has to take back."""
        close_metrics()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each on its own."""
        batch = Batch(requests, self._nonfinite_texts)
        for position, outputs in batch.read(self._outputs):
            batch.answer(position, outputs)
        return batch.responses

    def _outputs(self, request: Any) -> list[Any]:
        token_weights = input_array(request, TOKEN_WEIGHTS)
        texts = PackedTexts(input_array(request, INPUT_IDS), input_array(request, LENGTHS))
        check_lengths(texts.lengths, token_weights.size, self._max_length_tokens)
        check_lengths(texts.lengths, texts.input_ids.size, self._max_length_tokens)
        check_ids(texts.input_ids, self._vocabulary_size, texts.lengths)
        merged = self._merge(token_weights, texts)
        return [
            output_array(SPARSE_INDICES, merged.indices),
            output_array(SPARSE_VALUES, merged.values),
            output_array(SPARSE_LENGTHS, merged.lengths),
        ]
