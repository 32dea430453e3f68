"""The graph for TensorRT: operators that it has, shapes that it can plan, PyTorch's values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graph_types import typed_nodes
from onnx import TensorProto
from reference_operators import feeds
from tiny_checkpoint import LAYERS, MAX_LENGTH_TOKENS, PAD

from bgem3_export.trunk_graph import GRAPH_FILE, TENSORRT_GRAPH_FILE

OPERATORS = json.loads((Path(__file__).parent / "data" / "tensorrt_operators.json").read_text())
TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}

# Inputs of operators that decide the shape of their output.
SHAPE_INPUTS = {"Range": range(3), "Reshape": [1], "Split": [1], "Squeeze": [1], "Unsqueeze": [1]}


COMPARISONS = {"Equal", "GreaterOrEqual", "Less", "LessOrEqual"}


@pytest.fixture(scope="module")
def graph(directory) -> onnx.ModelProto:
    """The graph, without its weights."""
    return onnx.load_model(str(directory / TENSORRT_GRAPH_FILE), load_external_data=False)


@pytest.fixture(scope="module")
def run(directory):
    """Run the graph under ONNX Runtime, which has all its operators too."""
    session = onnxruntime.InferenceSession(
        str(directory / TENSORRT_GRAPH_FILE), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]

    def run(texts) -> tuple[np.ndarray, list[np.ndarray]]:
        lengths = np.array([len(text) for text in texts])
        dense, states = session.run(
            ["dense", "hidden_states"], feeds(names, np.concatenate(texts), lengths)
        )
        return dense, np.split(states, np.cumsum(lengths)[:-1])

    return run


def test_tensorrt_has_every_operator(graph, precision):
    """For the types that the node has, as its own table says."""
    first, last = (int(number) for number in OPERATORS["opsets"].split(" to "))
    lacking = [
        (node.node.name, node.node.op_type, kind)
        for node in typed_nodes(graph, TYPES[precision])
        for kind in set(node.types.values())
        if kind not in OPERATORS["operators"].get(node.node.op_type, "").split()
        # What comparisons give, and what chooses, is of a type of its own.
        and not (kind == "bool" and node.node.op_type in COMPARISONS)
    ]

    assert [] == lacking
    assert [""] == [entry.domain for entry in graph.opset_import]
    assert first <= graph.opset_import[0].version <= last


def test_axes_are_constant(graph):
    """As TensorRT asks of the operators that its table restricts."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if OPERATORS["restrictions"].get(node.op_type) == "axes constant":
            assert len(node.input) == 1 or node.input[1] in constants, node.name
        elif node.op_type == "LayerNormalization":
            assert 1 == len(node.output)


def test_no_shape_depends_on_a_value(graph):
    """TensorRT plans with the sizes of the inputs: all shapes are made of those."""
    known = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Shape" or set(node.input) <= known:
            known.update(node.output)
    unknown = [
        (node.name, node.input[index])
        for node in graph.graph.node
        for index in SHAPE_INPUTS.get(node.op_type, ())
        if index < len(node.input) and node.input[index] not in known
    ]

    assert [] == unknown
    assert {"Gather"} == {node.op_type for node in graph.graph.node if "padded_index" in node.input}
    # Operators whose output has a size that nobody knows before.
    assert not {"NonZero", "Unique", "Compress", "Loop", "If", "Slice"} & {
        node.op_type for node in graph.graph.node
    }


def test_two_inputs_say_how_far_to_pad(graph, precision):
    """The size of ``longest``; ``columns`` is there for Triton to measure, and read by nobody."""
    read = [node.op_type for node in graph.graph.node if "longest" in node.input]

    assert ["input_ids", "lengths", "columns", "longest"] == [
        value.name for value in graph.graph.input
    ]
    assert ["Shape"] == read
    assert not any("columns" in node.input for node in graph.graph.node)


@pytest.mark.parametrize(
    "lengths",
    [[1], [7], [1, 1], [5, 5, 5], [1, 9, 2, 17, 3], [200, 3], [3, MAX_LENGTH_TOKENS]],
    ids=str,
)
def test_the_values_are_those_of_pytorch(run, pytorch, precision, lengths):
    """Text by text, ``<pad>`` and the other special tokens among them."""
    random = np.random.default_rng(len(lengths))
    texts = [random.integers(0, 300, length) for length in lengths]
    assert_equals_pytorch(run, pytorch[0], texts, precision)


@pytest.mark.parametrize(
    "texts",
    [
        [[0, 5, PAD, 6, 2]],
        [[0, 7, 2], [PAD, 5, 6], [PAD, PAD, 9, PAD], [8, PAD], [0, 7, 2]],
        [[PAD] * 37 + [5] + [PAD] * 70 + [6], [PAD]],
    ],
    ids=["alone", "everywhere", "many"],
)
def test_a_written_pad_token_takes_no_position(run, pytorch, precision, texts):
    """However many there are, and in no other text."""
    assert_equals_pytorch(run, pytorch[0], texts, precision)


def assert_equals_pytorch(run, pytorch, texts, precision) -> None:
    """Compare each text of a batch with itself in PyTorch."""
    texts = [np.asarray(text, np.int64) for text in texts]
    dense, states = run(texts)
    for number, (text, actual) in enumerate(zip(texts, states, strict=True)):
        with torch.inference_mode():
            ids = torch.from_numpy(text)[None]
            expected = pytorch(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        tolerance = {"fp32": 1e-5, "fp16": 3e-2}[precision]
        np.testing.assert_allclose(actual, expected.numpy(), atol=tolerance)
        expected = torch.nn.functional.normalize(expected[0], dim=-1).numpy()
        np.testing.assert_allclose(dense[number], expected, atol=tolerance)


def test_padding_further_than_needed_changes_nothing(directory):
    """As for a batch in which another request has the longest text."""
    session = onnxruntime.InferenceSession(
        str(directory / TENSORRT_GRAPH_FILE), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    given = feeds(names, np.arange(4, 12), np.array([3, 5]))
    exact, _ = session.run(["dense", "hidden_states"], given)
    padded, _ = session.run(["dense", "hidden_states"], given | {"longest": np.zeros(64, np.int32)})

    np.testing.assert_allclose(exact, padded, atol=2e-3)


def test_attention_is_the_pattern_that_tensorrt_fuses(graph):
    """Product, mask, softmax, product, in the trunk's precision and without anything between."""
    makers = {node.output[0]: node for node in graph.graph.node}
    for layer in range(LAYERS):
        context = makers[f"layer_{layer}_context_by_head"]
        softmax = makers[context.input[0]]
        masked = makers[softmax.input[0]]
        scores = makers[masked.input[0]]

        assert ["MatMul", "Softmax", "Add", "MatMul"] == [
            node.op_type for node in (context, softmax, masked, scores)
        ]
        assert "mask" == masked.input[1]


def test_the_weights_are_those_of_the_other_graphs(directory, graph):
    """In the same places of the same file."""
    portable = onnx.load_model(str(directory / GRAPH_FILE), load_external_data=False)

    def external(model: onnx.ModelProto) -> dict[str, bytes]:
        return {
            tensor.name: tensor.SerializeToString()
            for tensor in model.graph.initializer
            if tensor.data_location == TensorProto.EXTERNAL
        }

    assert external(portable) == external(graph)
