"""The trunk's graph gives what transformers' XLM-RoBERTa gives, text by text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoint import HIDDEN_SIZE, LAYERS, MAX_LENGTH_TOKENS, PAD, write_tiny_checkpoint

from bgem3_export.checkpoint import Checkpoint
from bgem3_export.trunk_graph import graph_bytes, write_trunk_graph


class Graph:
    """A written graph under ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, texts) -> tuple[np.ndarray, list[np.ndarray]]:
        """Run a batch of texts: dense vectors, and the hidden states of each text."""
        lengths = np.array([len(text) for text in texts], np.int32)
        ids = np.concatenate(texts).astype(np.int32)
        dense, states = self.session.run(
            ["dense", "hidden_states"], {"input_ids": ids, "lengths": lengths}
        )
        return dense, np.split(states, np.cumsum(lengths)[:-1])


class PyTorch:
    """The same trunk in transformers, one text at a time, without padding."""

    def __init__(self, model) -> None:
        self.model = model

    @torch.inference_mode()
    def __call__(self, text) -> tuple[np.ndarray, np.ndarray]:
        """Run a text: dense vector and hidden states."""
        ids = torch.tensor(np.asarray(text, np.int64))[None]
        states = self.model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        return torch.nn.functional.normalize(states[0], dim=-1).numpy(), states.numpy()


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A folder for a tiny checkpoint and its graph."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def pytorch(directory) -> PyTorch:
    """The tiny trunk; it writes the checkpoint."""
    return PyTorch(write_tiny_checkpoint(directory))


@pytest.fixture(scope="module")
def graph(directory, pytorch) -> Graph:
    """Its graph in FP32."""
    return Graph(write_trunk_graph(Checkpoint(directory), directory, "fp32"))


@pytest.fixture(scope="module")
def half_graph(directory, pytorch, tmp_path_factory) -> Graph:
    """Its graph in FP16."""
    folder = tmp_path_factory.mktemp("fp16")
    return Graph(write_trunk_graph(Checkpoint(directory), folder, "fp16"))


def random_texts(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    """Return random ids, ``<pad>`` and the other special tokens among them."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 300, length) for length in lengths]


def assert_equals_pytorch(graph: Graph, pytorch: PyTorch, texts, tolerance: float = 1e-5) -> None:
    """Compare each text of a batch with itself in PyTorch."""
    dense, states = graph(texts)

    assert (len(texts), HIDDEN_SIZE) == dense.shape
    for number, text in enumerate(texts):
        expected_dense, expected_states = pytorch(text)
        assert expected_states.shape == states[number].shape
        np.testing.assert_allclose(dense[number], expected_dense, atol=tolerance)
        np.testing.assert_allclose(states[number], expected_states, atol=tolerance)


@pytest.mark.parametrize(
    "lengths",
    [
        [1],
        [7],
        [MAX_LENGTH_TOKENS],
        [1, 1],
        [5, 5, 5],
        [1, 9, 2, 17, 3],
        [200, 3],
        [3, MAX_LENGTH_TOKENS],
    ],
    ids=str,
)
def test_the_graph_equals_transformers(graph, pytorch, lengths):
    """One text or many, of one token or of as many as there are positions."""
    assert_equals_pytorch(graph, pytorch, random_texts(lengths, seed=len(lengths)))


@pytest.mark.parametrize(
    "texts",
    [
        [[0, 5, PAD, 6, 2]],
        [[0, 5, PAD, 6, 2], [0, 7, 2]],
        [[0, 7, 2], [PAD, 5, 6], [PAD, PAD, 9, PAD], [8, PAD], [0, 7, 2]],
        [[PAD], [5]],
        [[PAD, PAD]],
    ],
    ids=["alone", "before another", "everywhere", "nothing else", "alone and nothing else"],
)
def test_a_written_pad_token_is_a_token(graph, pytorch, texts):
    """``<pad>`` in a text takes no position, and is attended to, as in transformers."""
    assert_equals_pytorch(graph, pytorch, texts)


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 9))
def test_a_batch_equals_each_text_alone(graph, lengths, seed):
    """A text does not notice what it is computed with."""
    texts = random_texts(lengths, seed)
    dense, states = graph(texts)
    for number, text in enumerate(texts):
        expected_dense, (expected_states,) = graph([text])
        np.testing.assert_allclose(dense[number], expected_dense[0], atol=1e-5)
        np.testing.assert_allclose(states[number], expected_states, atol=1e-5)


def test_order_and_company_matter_to_the_comparison(graph):
    """The tests above would notice a mix-up: these texts differ by far more than 1e-5."""
    dense, _ = graph(random_texts([5, 5, 9]))

    assert np.abs(dense[0] - dense[1]).max() > 0.05
    assert np.abs(dense[0] - dense[2]).max() > 0.05


def test_half_precision_is_finite_and_close(half_graph, pytorch):
    """FP16 hidden states, FP32 dense; within the rounding of FP16."""
    texts = random_texts([1, 9, 2, 200, 3])
    dense, states = half_graph(texts)

    assert np.float32 == dense.dtype
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-5)
    for number, text in enumerate(texts):
        expected_dense, expected_states = pytorch(text)
        assert np.float16 == states[number].dtype
        np.testing.assert_allclose(dense[number], expected_dense, atol=5e-3)
        np.testing.assert_allclose(states[number], expected_states, atol=3e-2)


@pytest.mark.parametrize(
    ("weights_file", "prefix"),
    [
        ("model.safetensors", "roberta."),
        ("pytorch_model.bin", ""),
        ("pytorch_model.bin", "roberta."),
    ],
)
def test_every_way_to_store_the_weights_gives_the_same_graph(graph, tmp_path, weights_file, prefix):
    """Safetensors or PyTorch's own format, from a bare trunk or from a model with a task head."""
    write_tiny_checkpoint(tmp_path, weights_file=weights_file, prefix=prefix)
    path = write_trunk_graph(Checkpoint(tmp_path), tmp_path, "fp32")

    assert graph.path.read_bytes() == path.read_bytes()
    assert data_file(graph.path).read_bytes() == data_file(path).read_bytes()


@pytest.mark.parametrize(
    ("precision", "hidden_type"),
    [("fp32", onnx.TensorProto.FLOAT), ("fp16", onnx.TensorProto.FLOAT16)],
)
def test_the_interface_is_the_contract(graph, half_graph, precision, hidden_type):
    """Rank-1 inputs of any length; outputs that follow them; both axes are dynamic."""
    model = load_graph(half_graph if precision == "fp16" else graph)
    int32, fp32 = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT

    assert [
        ("input_ids", int32, ["tokens"]),
        ("lengths", int32, ["texts"]),
    ] == [described(value) for value in model.graph.input]
    assert [
        ("dense", fp32, ["texts", HIDDEN_SIZE]),
        ("hidden_states", hidden_type, ["tokens", HIDDEN_SIZE]),
    ] == [described(value) for value in model.graph.output]


def test_the_graph_is_written_for_old_runtimes(graph):
    """The ONNX Runtime of Triton's container must read it."""
    model = load_graph(graph)

    assert 8 == model.ir_version
    assert {"": 17, "com.microsoft": 1} == {
        opset.domain: opset.version for opset in model.opset_import
    }


def test_weights_are_external_and_the_graph_is_small(graph, half_graph):
    """Nothing of any size is in the graph itself, so that 2 GB of weights pass protobuf's limit."""
    for written, item_bytes in ((graph, 4), (half_graph, 2)):
        model = load_graph(written)
        external = [
            tensor
            for tensor in model.graph.initializer
            if tensor.data_location == onnx.TensorProto.EXTERNAL
        ]
        entries = [
            {entry.key: entry.value for entry in tensor.external_data} for tensor in external
        ]
        inside = [tensor for tensor in model.graph.initializer if tensor not in external]

        assert 5 + LAYERS * 12 - 1 == len(external)
        assert {"model.onnx.data"} == {entry["location"] for entry in entries}
        assert all(int(entry["offset"]) % 4096 == 0 for entry in entries)
        assert [int(np.prod(tensor.dims)) * item_bytes for tensor in external] == [
            int(entry["length"]) for entry in entries
        ]
        assert all(np.prod(tensor.dims) <= 3 for tensor in inside)
        assert written.path.stat().st_size < 30_000
        assert all(not tensor.raw_data for tensor in external)


def test_the_graph_cannot_be_run_without_its_data(graph, tmp_path):
    """The weights really are in the other file."""
    alone = tmp_path / "model.onnx"
    alone.write_bytes(graph.path.read_bytes())

    with pytest.raises(
        onnxruntime.capi.onnxruntime_pybind11_state.Fail, match=r"model\.onnx\.data"
    ):
        Graph(alone)


def test_the_size_is_foretold(directory, graph, half_graph):
    """Closely enough to refuse a full disk: within a tenth, padding between tensors aside."""
    checkpoint = Checkpoint(directory)
    for written, precision in ((graph, "fp32"), (half_graph, "fp16")):
        model = load_graph(written)
        weight_bytes = sum(
            int(entry.value)
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "length"
        )

        assert weight_bytes == pytest.approx(graph_bytes(checkpoint, precision), rel=0.1)


def test_progress_is_told_layer_by_layer(directory, pytorch, tmp_path):
    """(layers written, layers in all)."""
    told = []
    write_trunk_graph(
        Checkpoint(directory), tmp_path, "fp32", lambda done, total: told.append((done, total))
    )

    assert [(1, LAYERS), (2, LAYERS)] == told


def data_file(path: Path) -> Path:
    """Return the data file of a graph."""
    return path.with_name(path.name + ".data")


def load_graph(graph: Graph) -> onnx.ModelProto:
    """Read a graph without its data."""
    return onnx.load_model(str(graph.path), load_external_data=False)


def described(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    """Return name, element type and axes: a name for a dynamic one, a number otherwise."""
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]
