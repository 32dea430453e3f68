"""``bge_m3_trunk`` on a CPU: packed tokens to dense vectors, and to what the heads take or give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bgem3_backend.contract import INPUT_IDS, LENGTHS, TRUNK, TRUNK_WITH_HEADS
from bgem3_backend.errors import NotFiniteError
from bgem3_backend.models.metrics import (
    Counter,
    Gauge,
    close_metrics,
    engine_gauge,
    nonfinite_counter,
)
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import (
    Batch,
    input_array,
    output_array,
)
from bgem3_backend.packed_texts import PackedTexts, check_packed_texts
from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk import Trunk, TrunkOutput
from bgem3_backend.trunk.choice import load_engine

_OUTPUTS: Final = {
    tensor.name: tensor for model in (TRUNK, TRUNK_WITH_HEADS) for tensor in model.outputs
}


@dataclass(frozen=True)
class _TrunkRequest:
    texts: PackedTexts
    outputs: tuple[str, ...]


class TritonPythonModel:
    """Computes the requests of a batch together."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the graph."""
        config = ModelConfig.from_arguments(arguments)
        self._vocabulary_size = config.integer("vocabulary_size")
        self._max_length_tokens = config.integer("max_length_tokens")
        self._settings = BackendSettings()
        graph = config.version_directory / config.text("graph_file", "model.onnx")
        engine, choice = load_engine(graph, self._settings)
        self._trunk = Trunk(engine, self._settings.microbatch_tokens)
        self._engine = engine_gauge(engine.description, choice.reason)
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
        self._nonfinite_texts = nonfinite_counter(TRUNK.name)

    def finalize(self) -> None:
        """Let go of what Triton has to take back."""
        close_metrics()

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Answer a batch of requests, each on its own; as soon as it is computed in a large one."""
        batch = Batch(requests, self._nonfinite_texts)
        readable = batch.read(self._read)
        tokens = sum(read.texts.input_ids.size for _, read in readable)
        if len(readable) > 1 and tokens > self._trunk.microbatch_tokens:
            batch.send_each()
        waiting = [position for position, _ in readable]
        wanted = {name for _, read in readable for name in read.outputs}
        try:
            for number, output in self._trunk.run(
                [read.texts for _, read in readable],
                self._count,
                [tensor for name, tensor in _OUTPUTS.items() if name in wanted],
            ):
                position, read = readable[number]
                with batch.answering(position):
                    batch.answer(position, self._outputs(output, read))
                waiting.remove(position)
        except Exception as error:  # noqa: BLE001 - the graph itself failed, out of memory maybe
            batch.fail_all(waiting, error)
        return None if batch.sends_each else batch.responses

    def _count(self, tokens: int, padded_tokens: int) -> None:
        self._tokens.add(tokens)
        self._padded_tokens.add(padded_tokens)
        self._efficiency.set(tokens / padded_tokens)

    def _outputs(self, output: TrunkOutput, read: _TrunkRequest) -> list[Any]:
        if texts := output.not_finite_texts(read.texts.lengths):
            raise NotFiniteError("a vector", texts)
        return [output_array(_OUTPUTS[name], output.arrays[name]) for name in read.outputs]

    def _read(self, request: Any) -> _TrunkRequest:
        texts = PackedTexts(input_array(request, INPUT_IDS), input_array(request, LENGTHS))
        check_packed_texts(
            texts,
            vocabulary_size=self._vocabulary_size,
            max_length_tokens=self._max_length_tokens,
            max_tokens=self._settings.max_request_tokens,
        )
        return _TrunkRequest(texts, tuple(request.requested_output_names()))
