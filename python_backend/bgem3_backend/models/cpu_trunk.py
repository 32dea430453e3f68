"""``bge_m3_trunk`` in the CPU profile: packed tokens to dense vectors and hidden states."""

from __future__ import annotations

from typing import Any

from bgem3_backend.contract import DENSE, HIDDEN_STATES, INPUT_IDS, LENGTHS, TRUNK
from bgem3_backend.errors import NotFiniteError
from bgem3_backend.models.metrics import Counter, Gauge, not_finite_counter
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import (
    answering,
    input_array,
    output_array,
    read_each,
)
from bgem3_backend.onnx_trunk import OnnxTrunk, TrunkOutput
from bgem3_backend.packed_texts import PackedTexts, check_packed_texts
from bgem3_backend.settings import BackendSettings


class TritonPythonModel:
    """Computes the requests of a batch together and answers each when its last text is done."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the graph."""
        config = ModelConfig.from_arguments(arguments)
        self._vocabulary_size = config.integer("vocabulary_size")
        self._max_length_tokens = config.integer("max_length_tokens")
        self._settings = BackendSettings()
        self._trunk = OnnxTrunk(
            config.version_directory / "model.onnx",
            threads=self._settings.trunk_threads,
            microbatch_tokens=self._settings.microbatch_tokens,
        )
        self._tokens = Counter("bgem3_trunk_tokens_total", "Tokens computed", TRUNK.name)
        self._padded_tokens = Counter(
            "bgem3_trunk_padded_tokens_total",
            "Tokens computed, with the padding inside attention",
            TRUNK.name,
        )
        self._efficiency = Gauge(
            "bgem3_packing_efficiency_ratio",
            "Tokens by tokens with padding, of the last run of the graph",
            TRUNK.name,
        )
        self._not_finite = not_finite_counter(TRUNK.name)

    def execute(self, requests: list[Any]) -> None:
        """Answer a batch of requests, each on its own."""
        waiting = dict(enumerate(read_each(requests, self._read)))
        texts = [texts for _, texts in waiting.values()]
        try:
            for position, output in self._trunk.run(texts, self._count):
                request, _ = waiting.pop(position)
                with answering(request, self._not_finite) as answer:
                    answer.send(self._outputs(output))
        except Exception as error:
            for request, _ in waiting.values():
                with answering(request):
                    raise error

    def _count(self, tokens: int, padded_tokens: int) -> None:
        self._tokens.add(tokens)
        self._padded_tokens.add(padded_tokens)
        self._efficiency.set(tokens / padded_tokens)

    def _outputs(self, output: TrunkOutput) -> list[Any]:
        if not output.is_finite:
            raise NotFiniteError("the trunk gave a vector that is not finite")
        return [
            output_array(DENSE, output.dense),
            output_array(HIDDEN_STATES, output.hidden_states),
        ]

    def _read(self, request: Any) -> PackedTexts:
        texts = PackedTexts(input_array(request, INPUT_IDS), input_array(request, LENGTHS))
        check_packed_texts(
            texts,
            vocabulary_size=self._vocabulary_size,
            max_length_tokens=self._max_length_tokens,
            max_tokens=self._settings.max_request_tokens,
        )
        return texts
