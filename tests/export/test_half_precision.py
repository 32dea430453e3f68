"""FP16 gives no NaN: the dense vector is normalised in FP32, however large or small it is.

ONNX Runtime has few FP16 kernels for a CPU: there it computes the graph in FP32 and hides what a
GPU would run into. So every body of the graph is run here by ONNX's own reference evaluator, which
computes every node in the type that the graph gives it, as NumPy does: an FP16 tail overflows and
underflows as it would on a GPU. What this cannot show is how a GPU's own kernels accumulate inside
one operator (LayerNormalization and the matrix products use FP32 there, the evaluator uses FP16).

The last layer norm decides how large the hidden states are, so the tests scale its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from reference_operators import evaluate, feeds
from safetensors.torch import load_file, save_file
from tiny_checkpoint import LAYERS, write_tiny_checkpoint

from bgem3_export.checkpoint import Checkpoint
from bgem3_export.trunk_graph import (
    CUDA_GRAPH_FILE,
    GRAPH_FILE,
    TENSORRT_GRAPH_FILE,
    write_trunk_graph,
)

FP16: Final = np.finfo(np.float16)
LARGE, USUAL, SMALL = 4096.0, 1.0, 2.0**-16
LENGTHS: Final = np.array([7, 1, 12], np.int32)
INPUT_IDS: Final = np.random.default_rng(0).integers(4, 300, LENGTHS.sum()).astype(np.int32)


def scaled_checkpoint(directory: Path, scale: float) -> Path:
    """Write a tiny checkpoint whose hidden states are ``scale`` times as large."""
    write_tiny_checkpoint(directory)
    weights = load_file(directory / "model.safetensors")
    for part in ("weight", "bias"):
        weights[f"encoder.layer.{LAYERS - 1}.output.LayerNorm.{part}"] *= scale
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="module", params=[LARGE, USUAL, SMALL], ids=["large", "usual", "small"])
def scale(request) -> float:
    """How large the hidden states are."""
    return request.param


@pytest.fixture(scope="module")
def directory(tmp_path_factory, scale) -> Path:
    """The scaled checkpoint and its FP16 graph."""
    directory = scaled_checkpoint(tmp_path_factory.mktemp("scaled"), scale)
    write_trunk_graph(Checkpoint(directory), directory, "fp16")
    return directory


@pytest.fixture(scope="module")
def expected(directory) -> np.ndarray:
    """The dense vectors in FP32, by PyTorch."""
    from transformers import XLMRobertaModel

    model = XLMRobertaModel.from_pretrained(directory, add_pooling_layer=False).eval()
    dense = []
    for text in np.split(INPUT_IDS, np.cumsum(LENGTHS)[:-1]):
        with torch.inference_mode():
            states = model(torch.from_numpy(text.astype(np.int64))[None]).last_hidden_state[0]
        dense.append(torch.nn.functional.normalize(states[0], dim=-1).numpy())
    return np.stack(dense)


def cosines(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return the cosine of each row with its reference."""
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    return (expected * actual).sum(axis=1) / norms


@pytest.fixture(scope="module", params=[GRAPH_FILE, CUDA_GRAPH_FILE, TENSORRT_GRAPH_FILE])
def graph(request, directory) -> Path:
    """Each body of the graph."""
    return directory / request.param


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    """Run a graph in the precision it is written in."""
    return evaluate(model, INPUT_IDS, LENGTHS)


def test_dense_is_of_unit_length_and_points_the_right_way(graph, expected):
    """In FP16 arithmetic, whatever the size of the hidden states."""
    dense, states = run(onnx.load(str(graph)))

    assert (np.float32, np.float16) == (dense.dtype, states.dtype)
    assert np.isfinite(states).all()
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-5)
    assert cosines(expected, dense).min() >= 0.999


@pytest.mark.parametrize("file", [GRAPH_FILE, TENSORRT_GRAPH_FILE])
def test_dense_is_right_under_onnx_runtime(directory, expected, file):
    """The same, by the runtime that serves."""
    session = onnxruntime.InferenceSession(
        str(directory / file), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    dense, states = session.run(["dense", "hidden_states"], feeds(names, INPUT_IDS, LENGTHS))

    assert np.isfinite(states).all()
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-5)
    assert cosines(expected, dense).min() >= 0.999


def test_the_states_are_as_large_and_as_small_as_they_should_be(graph, scale):
    """Their squares leave FP16 at both ends, so that the tests here test something."""
    _, states = run(onnx.load(str(graph)))
    squares = np.square(states.astype(np.float64))

    if scale == LARGE:
        assert squares.max(axis=1).min() > float(FP16.max)
    elif scale == SMALL:
        assert squares.max() < float(FP16.smallest_subnormal) / 2
    else:
        assert squares.sum(axis=1).max() < float(FP16.max)


def test_the_same_tail_in_half_precision_fails(graph, expected, scale):
    """The control: without the cast to FP32, large states give zeros, and small ones NaN."""
    model = onnx.load(str(graph))
    normalise_in_half_precision(model)
    dense, _ = run(model)

    if scale == LARGE:
        np.testing.assert_array_equal(np.zeros_like(dense), dense)
    elif scale == SMALL:
        assert not np.isfinite(dense).any()
    else:
        assert cosines(expected, dense.astype(np.float32)).min() >= 0.999


def normalise_in_half_precision(model: onnx.ModelProto) -> None:
    """Turn the tail's one cast and its epsilon to FP16."""
    (cast,) = [node for node in model.graph.node if node.name == "cls_fp32"]
    cast.attribute[0].i = TensorProto.FLOAT16
    (epsilon,) = [tensor for tensor in model.graph.initializer if tensor.name == "epsilon"]
    value = numpy_helper.to_array(epsilon).astype(np.float16)
    epsilon.CopyFrom(numpy_helper.from_array(value, "epsilon"))
    (dense,) = [value for value in model.graph.output if value.name == "dense"]
    dense.type.tensor_type.elem_type = TensorProto.FLOAT16
