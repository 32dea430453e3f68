"""The graphs that hold the heads give what the trunk and the Python heads give."""

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
from reference_operators import evaluate, feeds
from tiny_checkpoint import COLBERT_SIZE, HIDDEN_SIZE, write_tiny_checkpoint

from bgem3_backend.colbert import ColbertHead
from bgem3_backend.contract import TRUNK_WITH_HEADS
from bgem3_backend.heads import LinearHead
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.trunk_graph import (
    CUDA_GRAPH_FILE,
    CUDA_HEADS_GRAPH_FILE,
    GRAPH_FILE,
    HEADS_GRAPH_FILE,
    write_trunk_graph,
)

KERNELS = json.loads((Path(__file__).parent / "data" / "cuda_kernels.json").read_text())
TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
WITHOUT_HEADS = {HEADS_GRAPH_FILE: GRAPH_FILE, CUDA_HEADS_GRAPH_FILE: CUDA_GRAPH_FILE}
OUTPUTS = [tensor.name for tensor in TRUNK_WITH_HEADS.outputs]

# Texts of the first token alone among them: they have no ColBERT row.
BATCHES = [[7], [1, 5, 1], [3, 1, 1, 4]]
# The last two have none at all; ONNX's evaluator gathers nothing in a wrong shape.
ALL_BATCHES = [*BATCHES, [1], [1, 1]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    """A tiny checkpoint with random heads."""
    directory = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(directory)
    return Checkpoint(directory)


@pytest.fixture(scope="module", params=TYPES)
def precision(request) -> str:
    """Of the trunk."""
    return request.param


@pytest.fixture(scope="module")
def directory(checkpoint, precision, tmp_path_factory) -> Path:
    """All graphs of the checkpoint."""
    directory = tmp_path_factory.mktemp(precision)
    write_trunk_graph(checkpoint, directory, precision)
    return directory


def python_heads(checkpoint, states, lengths) -> dict[str, np.ndarray]:
    """What the heads in Python make of hidden states."""

    def linear(head) -> LinearHead:
        return LinearHead(torch.from_numpy(head.weight), torch.from_numpy(head.bias))

    tensor = torch.from_numpy(states)
    colbert = ColbertHead(linear(checkpoint.colbert_head))(tensor, torch.from_numpy(lengths).long())
    return {
        "token_weights": linear(checkpoint.sparse_head)(tensor)[:, 0].numpy(),
        "colbert": colbert.vectors.numpy(),
        "colbert_fp16": colbert.vectors.half().numpy(),
        "colbert_lengths": colbert.lengths.numpy(),
        "token_states": states.astype(np.float32),
    }


def texts_of(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Random ids of texts of these lengths, and the lengths."""
    ids = np.random.default_rng(sum(lengths)).integers(0, 300, sum(lengths))
    return ids.astype(np.int32), np.array(lengths, np.int32)


@pytest.mark.parametrize("lengths", BATCHES, ids=str)
@pytest.mark.parametrize("file", WITHOUT_HEADS)
def test_the_values_are_those_of_the_python_heads(checkpoint, directory, file, lengths):
    """On the states of the same graph without heads, whatever the trunk's precision."""
    ids, lengths = texts_of(lengths)
    dense, states = evaluate(onnx.load(str(directory / WITHOUT_HEADS[file])), ids, lengths)
    expected = {"dense": dense, **python_heads(checkpoint, states, lengths)}
    actual = dict(
        zip(OUTPUTS, evaluate(onnx.load(str(directory / file)), ids, lengths, OUTPUTS), strict=True)
    )

    for name in OUTPUTS:
        assert (expected[name].shape, expected[name].dtype) == (
            actual[name].shape,
            actual[name].dtype,
        )
        tolerance = 1e-3 if name == "colbert_fp16" else 1e-5
        np.testing.assert_allclose(actual[name], expected[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize("lengths", ALL_BATCHES, ids=str)
def test_the_values_are_right_under_onnx_runtime(checkpoint, directory, precision, lengths):
    """By the runtime that serves; the CUDA graph has operators that it lacks on a CPU."""
    ids, lengths = texts_of(lengths)

    def run(file: str, names: list[str]) -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(
            str(directory / file), providers=["CPUExecutionProvider"]
        )
        taken = [value.name for value in session.get_inputs()]
        return session.run(names, feeds(taken, ids, lengths))

    (states,) = run(GRAPH_FILE, ["hidden_states"])
    expected = python_heads(checkpoint, states, lengths)
    # In FP16 the two sessions may fuse the trunk in different ways.
    tolerance = {"fp32": 1e-5, "fp16": 1e-2}[precision]

    for name, value in zip(OUTPUTS[1:], run(HEADS_GRAPH_FILE, OUTPUTS[1:]), strict=True):
        np.testing.assert_allclose(
            value, expected[name], atol=max(tolerance, 1e-3 if "16" in name else 0), err_msg=name
        )


def test_weights_are_given_before_relu(directory):
    """A number below zero stays what it is: relu would also make an innocent zero of -infinity."""
    ids, lengths = texts_of([8] * 8)
    (weights,) = evaluate(
        onnx.load(str(directory / HEADS_GRAPH_FILE)), ids, lengths, ["token_weights"]
    )

    assert weights.min() < 0 < weights.max()


def test_the_heads_are_in_full_precision(directory):
    """Also beside a trunk in FP16."""
    for file in WITHOUT_HEADS:
        graph = onnx.load_model(str(directory / file), load_external_data=False).graph
        shapes = {
            tensor.name: (tensor.data_type, list(tensor.dims))
            for tensor in graph.initializer
            if "_head_" in tensor.name
        }

        assert {
            "sparse_head_weight": (TensorProto.FLOAT, [HIDDEN_SIZE, 1]),
            "sparse_head_bias": (TensorProto.FLOAT, [1]),
            "colbert_head_weight": (TensorProto.FLOAT, [HIDDEN_SIZE, COLBERT_SIZE]),
            "colbert_head_bias": (TensorProto.FLOAT, [COLBERT_SIZE]),
        } == shapes


def test_the_trunks_weights_are_not_written_twice(directory):
    """Every graph refers to the same places of one file; the heads are all that is added."""

    def places(file: str) -> dict[str, dict[str, str]]:
        graph = onnx.load_model(str(directory / file), load_external_data=False).graph
        return {
            tensor.name: {entry.key: entry.value for entry in tensor.external_data}
            for tensor in graph.initializer
            if tensor.data_location == TensorProto.EXTERNAL
        }

    trunk = places(GRAPH_FILE)
    for file in WITHOUT_HEADS:
        found = places(file)

        assert trunk == {name: place for name, place in found.items() if "_head_" not in name}
        assert 4 == len(found) - len(trunk)
    assert ["model.onnx.data"] == [path.name for path in directory.glob("*.data")]


@pytest.mark.parametrize("version", KERNELS["kernels"])
def test_every_node_of_the_cuda_graph_has_a_kernel_on_the_gpu(directory, precision, version):
    """As without heads: one that has none is computed on the CPU, in silence."""
    kernels = KERNELS["kernels"][version]
    graph = onnx.load_model(str(directory / CUDA_HEADS_GRAPH_FILE), load_external_data=False)
    without = [
        (node.operator, node.node.name, node.types)
        for node in typed_nodes(graph, TYPES[precision])
        if not any(
            all(node.types[name] in kinds.split() for name, kinds in kernel.items())
            for kernel in kernels.get(node.operator, ())
        )
    ]

    assert [] == without


def test_the_heads_wait_for_no_number(directory):
    """What shapes depend on, behind the trunk, comes from shapes: nothing is copied to the host."""
    graph = onnx.load_model(str(directory / CUDA_HEADS_GRAPH_FILE), load_external_data=False).graph
    makers = {node.output[0]: node for node in graph.node}
    (cut,) = [node for node in graph.node if node.name == "kept"]
    count = makers[cut.input[2]]

    assert ["Shape", "Shape"] == [makers[name].op_type for name in count.input]
    assert "NonZero" not in {node.op_type for node in graph.node}
