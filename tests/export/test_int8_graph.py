"""``model.int8.onnx`` computes what was quantized, in 8 bits, beside the weights that it shares."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from tiny_checkpoint import write_tiny_checkpoint

from bgem3_backend.contract import TRUNK
from bgem3_backend.trunk.int8 import INT8_GRAPH_FILE
from bgem3_backend.trunk.onnx_engine import OnnxEngine
from bgem3_backend.trunk.openvino_engine import OpenVinoEngine
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.int8.calibration import measure_inputs
from bgem3_export.int8.graph import INT8_DATA_FILE, write_int8_graph
from bgem3_export.int8.linear_layers import LinearLayer, linear_layers
from bgem3_export.int8.quantized_linear import QuantizedLinear, quantize_linear
from bgem3_export.parity import check_graph_contract
from bgem3_export.reference import Reference
from bgem3_export.trunk_graph import DATA_FILE, GRAPH_FILE, write_trunk_graph

HIDDEN_SIZE = 32


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A tiny checkpoint and its trunk in FP32."""
    directory = tmp_path_factory.mktemp("int8")
    write_tiny_checkpoint(directory)
    write_trunk_graph(Checkpoint(directory), directory, "fp32")
    return directory


@pytest.fixture(scope="module")
def layers(directory) -> list[LinearLayer]:
    """Its linear layers."""
    return list(linear_layers(Checkpoint(directory).config))


@pytest.fixture(scope="module")
def texts() -> list[np.ndarray]:
    """Some texts of unlike length."""
    random = np.random.default_rng(0)
    return [random.integers(4, 300, length).astype(np.int32) for length in (9, 1, 40, 17)]


@pytest.fixture(scope="module")
def quantized(directory, layers, texts) -> dict[str, QuantizedLinear]:
    """All of them in INT8."""
    reference = Reference(Checkpoint(directory), "cpu")
    inputs = measure_inputs(reference, layers, texts, lambda done, total: None)
    return {
        layer.name: quantize_linear(
            np.concatenate(
                [reference.linear(module).weight.detach().numpy() for module in layer.modules]
            ).T,
            np.concatenate(
                [reference.linear(module).bias.detach().numpy() for module in layer.modules]
            ),
            inputs[layer.name],
        )
        for layer in layers
    }


@pytest.fixture(scope="module")
def int8_graph(directory, quantized) -> Path:
    """The graph with every linear layer in INT8."""
    return write_int8_graph(directory, quantized)


@pytest.fixture(scope="module")
def expected(directory, layers, quantized, texts) -> list[np.ndarray]:
    """The hidden states of each text, from PyTorch with the same linear layers in its place."""
    reference = Reference(Checkpoint(directory), "cpu")
    for layer in layers:
        width = layer.outputs // len(layer.modules)
        for part, module in enumerate(layer.modules):
            reference.linear(module).register_forward_hook(
                lambda module, arguments, output, name=layer.name, part=part, width=width: (
                    quantized[name](arguments[0])[..., part * width : (part + 1) * width]
                )
            )
    with torch.inference_mode():
        return [reference(text).hidden_states for text in texts]


def run(engine: OnnxEngine | OpenVinoEngine, texts: list[np.ndarray]) -> list[np.ndarray]:
    """Return the hidden states of each text, computed together."""
    lengths = np.array([text.size for text in texts], np.int32)
    _, states = engine.run(np.concatenate(texts), lengths)
    return np.split(states, np.cumsum(lengths)[:-1])


def test_the_graph_takes_and_gives_what_the_contract_says(int8_graph):
    """As every trunk."""
    check_graph_contract(int8_graph, HIDDEN_SIZE, "fp32", TRUNK.inputs)


@pytest.mark.parametrize("library", ["openvino", "onnxruntime"])
def test_the_graph_computes_what_was_quantized(int8_graph, texts, expected, library):
    """Any engine that knows ONNX's rounding can run it.

    A difference in the last bit may round the other way, so a few values are a step apart.
    """
    engine = (
        OpenVinoEngine(int8_graph, 1, "openvino-int8")
        if library == "openvino"
        else OnnxEngine(int8_graph, 1)
    )
    differences = [np.abs(was - now) for was, now in zip(expected, run(engine, texts), strict=True)]

    assert 0.02 > max(difference.max() for difference in differences)
    assert 1e-3 > np.mean(np.concatenate(differences))


def test_a_text_is_the_same_alone_and_in_a_batch(int8_graph, texts):
    """Whatever stands beside it."""
    engine = OpenVinoEngine(int8_graph, 1, "openvino-int8")
    together = run(engine, texts)

    for number, text in enumerate(texts):
        np.testing.assert_allclose(together[number], run(engine, [text])[0], atol=1e-5)


def test_every_linear_layer_multiplies_8_bit_numbers(int8_graph, layers):
    """OpenVINO knows the pattern: nothing is computed in FP32 in silence."""
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(int8_graph, "CPU", options)
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    precisions = Counter(
        node["primitiveType"].value.rpartition("_")[2]
        for node in nodes
        if node["layerType"].value == "FullyConnected"
    )

    # Each has a second multiplication, for the inputs that are kept in FP32.
    assert {"I8": len(layers), "f32": len(layers)} == precisions


def test_what_is_not_quantized_is_read_from_the_weights_of_the_fp32_graph(directory, quantized):
    """No second embedding table, and no second copy of a layer that stays in FP32."""
    first = dict(list(quantized.items())[:1])
    graph = onnx.load_model(str(write_int8_graph(directory, first)), load_external_data=False)
    shared = {
        tensor.name
        for tensor in graph.graph.initializer
        if any(entry.value == DATA_FILE for entry in tensor.external_data)
    }
    full = onnx.load_model(str(directory / GRAPH_FILE), load_external_data=False)
    (name,) = first
    replaced = {f"{name}_weight", f"{name}_bias"}

    assert {
        tensor.name for tensor in full.graph.initializer if tensor.external_data
    } - replaced == shared
    assert 0.1 * (directory / DATA_FILE).stat().st_size > sum(
        (directory / file).stat().st_size
        for file in (INT8_GRAPH_FILE, INT8_DATA_FILE)
        if (directory / file).exists()
    )
