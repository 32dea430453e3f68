"""From a checkpoint and its exported graph to an INT8 trunk that passes the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from bgem3_backend.packed_texts import Int32Array
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_backend.trunk.int8 import INT8_GRAPH_FILE
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.int8.calibration import InputStatistics, measure_inputs
from bgem3_export.int8.calibration_texts import CALIBRATION_TEXTS
from bgem3_export.int8.gate import Gate
from bgem3_export.int8.graph import mark_as_passed, write_int8_graph
from bgem3_export.int8.linear_layers import LinearLayer, linear_layers
from bgem3_export.int8.quantized_linear import QuantizedLinear, quantize_linear
from bgem3_export.int8.report import LIMITS, QuantizationReport
from bgem3_export.int8.sensitivity import measure_disturbance
from bgem3_export.reference import Reference

# The order of the layers shows in few texts: the longest ones.
_TEXTS_FOR_SENSITIVITY: Final = 4

# Half of the layers, the best ones, err 0.4 to 0.8 times as much as all of them. The search takes
# minutes, and is not begun where it would find nothing.
_HOPELESS_EXCESS: Final = 3.0

# The search for the last layer that can be INT8 ends when it is known to this share of all.
_SEARCH_STEP: Final = 1 / 24


class Progress(Protocol):
    """What is told while it is at work."""

    def step(self, name: str, total: int) -> None:
        """A step begins; it has ``total`` parts."""

    def part(self, done: int, total: int) -> None:
        """So many parts of the step are done."""


def quantize_trunk(
    checkpoint: Checkpoint,
    trunk_directory: Path,
    tokenizer_file: Path,
    heads: dict[str, Path],
    progress: Progress,
) -> QuantizationReport:
    """Write ``model.int8.onnx`` beside ``model.onnx``, with as much in INT8 as the gate lets pass.

    Args:
        checkpoint: What the export was made from.
        trunk_directory: Holds ``model.onnx``, in FP32.
        tokenizer_file: The exported one.
        heads: The exported files of "sparse" and "colbert".
        progress: Is told how far it is.

    The processor must be one that :func:`check_processor` accepts, and OpenVINO installed.

    Returns:
        What the gate found; it passed.

    Raises:
        QuantizationError: No trunk with enough of it in INT8 passes the gate.
    """
    layers = list(linear_layers(checkpoint.config))
    reference = Reference(checkpoint, "cpu")
    texts = _calibration_texts(checkpoint, tokenizer_file)

    progress.step("INT8: calibrating", len(texts))
    inputs = measure_inputs(reference, layers, texts, progress.part)
    quantized = {layer.name: _quantized(reference, layer, inputs) for layer in layers}

    progress.step("INT8: computing what is expected", 1)
    gate = Gate(checkpoint, reference, tokenizer_file, heads, progress.part)

    def attempt(int8_layers: Sequence[LinearLayer]) -> QuantizationReport:
        chosen = {layer.name: quantized[layer.name] for layer in int8_layers}
        graph = write_int8_graph(trunk_directory, chosen)
        return gate.judge(graph, layers, [la for la in layers if la.name not in chosen])

    progress.step("INT8: comparing with the checkpoint", 1)
    report = attempt(layers)
    if not report.is_accurate:
        if not report.excess <= _HOPELESS_EXCESS:
            report.check()
        progress.step("INT8: finding the layers that suffer most", len(layers))
        probes = sorted(texts, key=len)[-_TEXTS_FOR_SENSITIVITY:]
        disturbance = measure_disturbance(reference, layers, quantized, probes, progress.part)
        progress.step("INT8: comparing with fewer layers", 1)
        report = _most_that_pass(_by_merit(layers, disturbance), attempt)
    progress.part(1, 1)
    mark_as_passed(trunk_directory / INT8_GRAPH_FILE, report.model_dump_json())
    return report


def _calibration_texts(checkpoint: Checkpoint, tokenizer_file: Path) -> list[Int32Array]:
    tokenizer = TextTokenizer(tokenizer_file)
    limit = Truncation(checkpoint.config.max_length_tokens)
    packed = tokenizer.pack(tokenizer.encode(CALIBRATION_TEXTS), limit).texts
    return np.split(packed.input_ids, packed.starts[1:])


def _quantized(
    reference: Reference, layer: LinearLayer, inputs: Mapping[str, InputStatistics]
) -> QuantizedLinear:
    modules = [reference.linear(name) for name in layer.modules]
    weight = np.concatenate([module.weight.detach().numpy() for module in modules])
    bias = np.concatenate([module.bias.detach().numpy() for module in modules])
    return quantize_linear(weight.T, bias, inputs[layer.name])


def _by_merit(layers: Sequence[LinearLayer], disturbance: Mapping[str, float]) -> list[LinearLayer]:
    """Return the layers, the one first that saves most for what it disturbs."""
    return sorted(layers, key=lambda layer: disturbance[layer.name] / layer.multiplications)


def _most_that_pass(
    layers: Sequence[LinearLayer],
    attempt: Callable[[Sequence[LinearLayer]], QuantizationReport],
) -> QuantizationReport:
    """Find how many of the layers can be INT8, and leave the graph written with those.

    Raises:
        QuantizationError: Not enough of them to be worth it.
    """
    shares = np.cumsum([layer.multiplications for layer in layers])
    passed = int(np.searchsorted(shares, LIMITS.int8_share * shares[-1])) + 1
    # Below this INT8 is not worth it, so this is tried first.
    best = attempt(layers[:passed])
    best.check()
    failed, written = len(layers), passed
    while failed - passed > max(1, len(layers) * _SEARCH_STEP):
        written = (passed + failed) // 2
        report = attempt(layers[:written])
        if report.is_accurate:
            passed, best = written, report
        else:
            failed = written
    return best if written == passed else attempt(layers[:passed])
