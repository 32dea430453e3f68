"""The graph for CUDA: every node has a kernel there, and the values are those of PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graph_types import MICROSOFT, typed_nodes
from onnx import TensorProto, helper
from reference_operators import (
    BiasGelu,
    PackedMultiHeadAttention,
    SkipLayerNormalization,
    evaluate,
)
from tiny_checkpoint import LAYERS, MAX_LENGTH_TOKENS, PAD

from bgem3_backend.contract import TOKENIZER, TRUNK
from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
from bgem3_export.checkpoint import TOKENIZER_FILE
from bgem3_export.manifest import Manifest
from bgem3_export.reference_texts import REFERENCE_TEXTS
from bgem3_export.trunk_graph import CUDA_GRAPH_FILE, GRAPH_FILE

KERNELS = json.loads((Path(__file__).parent / "data" / "cuda_kernels.json").read_text())
TYPES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}

# What ONNX Runtime computes on the CPU by design, although CUDA has kernels: scalars made of a
# shape, which is known there, for operators that want it there. Its log says so for both versions.
ON_THE_CPU = {"token_count_scalar", "text_count_scalar"}


@pytest.fixture(scope="module")
def graph(directory) -> onnx.ModelProto:
    """The graph, without its weights."""
    return onnx.load_model(str(directory / CUDA_GRAPH_FILE), load_external_data=False)


@pytest.fixture(scope="module")
def model(directory) -> onnx.ModelProto:
    """The graph and its weights."""
    return onnx.load_model(str(directory / CUDA_GRAPH_FILE))


@pytest.mark.parametrize("version", KERNELS["kernels"])
def test_every_node_has_a_kernel_on_the_gpu(graph, precision, version):
    """In the oldest and in the newest ONNX Runtime, for the types that the node has.

    A node without one is computed on the CPU, in silence, and its inputs are copied there.
    """
    kernels = KERNELS["kernels"][version]
    nodes = typed_nodes(graph, TYPES[precision])
    without = [
        (node.operator, node.node.name, node.types)
        for node in nodes
        if not any(
            all(node.types[name] in kinds.split() for name, kinds in kernel.items())
            for kernel in kernels.get(node.operator, ())
        )
    ]

    assert [] == without
    assert KERNELS["opset"] == graph.opset_import[0].version
    assert {f"ai.onnx:{op}" for op in ("MatMul", "Gather")} <= {node.operator for node in nodes}


def test_only_scalars_of_shapes_are_left_to_the_cpu(graph):
    """The rest of what depends on shapes alone is made where it is used."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    shapes = {node.output[0] for node in graph.graph.node if node.op_type == "Shape"}
    scalars = {
        node.name
        for node in graph.graph.node
        if node.op_type not in ("ConstantOfShape", "Range", "Shape")
        and set(node.input) <= constants | shapes
    }

    assert ON_THE_CPU == scalars


def test_one_number_is_copied_to_the_host(graph):
    """The longest length, of which the columns are made: an operator that wants it there."""
    wanted_there = {"Range": range(3), "Reshape": [1], "ConstantOfShape": [0], "Slice": [1, 2, 3]}
    constants = {tensor.name for tensor in graph.graph.initializer}
    there = constants | ON_THE_CPU
    there |= {node.output[0] for node in graph.graph.node if node.op_type == "Shape"}
    copied = {
        node.input[index]
        for node in graph.graph.node
        for index in wanted_there.get(node.op_type, ())
        if index < len(node.input) and node.input[index] not in there
    }

    assert {"longest"} == copied


def test_a_layer_is_ten_nodes(graph):
    """Four products, attention, and two kinds of fused operators; no cast, no copy, no padding."""
    for layer in range(LAYERS):
        names = [node for node in graph.graph.node if node.name.startswith(f"layer_{layer}_")]

        assert [
            "MatMul",
            "Add",
            "Split",
            "PackedMultiHeadAttention",
            "MatMul",
            "SkipLayerNormalization",
            "MatMul",
            "BiasGelu",
            "MatMul",
            "SkipLayerNormalization",
        ] == [node.op_type for node in names]


def test_attention_needs_no_workspace(graph):
    """Queries, keys and values apart and without a bias: flash attention takes them as they are."""
    for node in graph.graph.node:
        if node.op_type == "PackedMultiHeadAttention":
            query, key, value, bias, *_ = node.input

            assert all((query, key, value))
            assert not bias


def test_floating_point_is_cast_at_the_tail_alone(graph, precision):
    """The other casts are of the layout's integers."""
    casts = {
        node.node.name: (node.types["T1"], node.types["T2"])
        for node in typed_nodes(graph, TYPES[precision])
        if node.node.op_type == "Cast"
    }

    assert {
        "lengths_64": ("int32", "int64"),
        "cumulative_lengths": ("int64", "int32"),
        "token_offset": ("int64", "int32"),
        "real": ("bool", "int64"),
        "cls_fp32": ({"fp16": "float16", "fp32": "float"}[precision], "float"),
    } == casts


def test_the_graphs_share_their_weights(directory, graph):
    """One data file, in which each weight is once."""
    portable = onnx.load_model(str(directory / GRAPH_FILE), load_external_data=False)

    def places(model: onnx.ModelProto) -> dict[str, dict[str, str]]:
        return {
            tensor.name: {entry.key: entry.value for entry in tensor.external_data}
            for tensor in model.graph.initializer
            if tensor.data_location == TensorProto.EXTERNAL
        }

    assert places(portable) == places(graph)
    assert ["model.onnx.data"] == [path.name for path in directory.glob("*.data")]


@pytest.mark.parametrize(
    ("lengths", "offsets"),
    [
        ([1, 2, 4], [0, 4, 5, 8, 9, 10, 11, 1, 2, 3, 6, 7]),
        ([3], [0, 1, 2]),
        ([2, 2], [0, 1, 2, 3]),
        ([1, 3, 1], [0, 3, 4, 5, 6, 1, 2, 7, 8]),
    ],
    ids=str,
)
def test_the_layout_is_as_the_operator_documents_it(model, lengths, offsets):
    """The first is the example in ONNX Runtime's documentation."""
    names = ("token_offset", "cumulative_lengths")
    opened = onnx.ModelProto.FromString(model.SerializeToString())
    opened.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.INT32, None) for name in names
    )
    token_offset, cumulative = evaluate(
        opened, np.zeros(sum(lengths)), np.array(lengths), outputs=names
    )

    assert np.int32 == token_offset.dtype == cumulative.dtype
    assert (len(lengths), max(lengths)) == token_offset.shape
    assert offsets == token_offset.ravel().tolist()
    assert [0, *np.cumsum(lengths)] == cumulative.tolist()


@pytest.mark.parametrize(
    "lengths",
    [[1], [7], [1, 1], [5, 5, 5], [1, 9, 2, 17, 3], [40, 3], [MAX_LENGTH_TOKENS]],
    ids=str,
)
def test_the_values_are_those_of_pytorch(model, pytorch, precision, lengths):
    """Text by text, ``<pad>`` and the other special tokens among them."""
    random = np.random.default_rng(len(lengths))
    texts = [random.integers(0, 300, length) for length in lengths]
    texts[0][-1] = PAD
    dense, states = evaluate(model, np.concatenate(texts), np.array(lengths))
    tolerance = {"fp32": 1e-5, "fp16": 3e-2}[precision]

    for number, (text, actual) in enumerate(
        zip(texts, np.split(states, np.cumsum(lengths)[:-1]), strict=True)
    ):
        with torch.inference_mode():
            expected = pytorch[0](torch.from_numpy(text)[None]).last_hidden_state[0]
        np.testing.assert_allclose(actual, expected.numpy(), atol=tolerance)
        expected = torch.nn.functional.normalize(expected[0], dim=-1).numpy()
        np.testing.assert_allclose(dense[number], expected, atol=tolerance)


def test_a_wrong_offset_would_show(model):
    """The control: two tokens exchanged in the layout give other values."""
    lengths = np.array([3, 5])
    ids = np.arange(4, 12)
    right, _ = evaluate(model, ids, lengths)
    spoilt = onnx.ModelProto.FromString(model.SerializeToString())
    (node,) = [node for node in spoilt.graph.node if node.name == "token_place"]
    node.op_type = "Sub"
    wrong, _ = evaluate(spoilt, ids, lengths)

    assert not np.allclose(right, wrong, atol=1e-2)


def run_on_cpu(path: Path, ids: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run the graph under ONNX Runtime, its attention replaced by standard operators."""
    model = onnx.load_model(str(path), load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "PackedMultiHeadAttention":
            node.domain, node.op_type = "test", "BlockDiagonalAttention"
    model.opset_import.append(helper.make_opsetid("test", 1))
    model.functions.append(block_diagonal_attention())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent)
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(
        ["dense", "hidden_states"],
        {"input_ids": ids.astype(np.int32), "lengths": lengths.astype(np.int32)},
    )


def block_diagonal_attention() -> onnx.FunctionProto:
    """Return packed attention as a function: all tokens with all, those of other texts masked."""
    return onnx.parser.parse_function(
        """
        <domain: "test", opset_import: ["" : 17]>
        BlockDiagonalAttention <num_heads> (
            query, key, value, bias, token_offset, cumulative
        ) => (context) {
            heads = Constant <value_int: int = @num_heads> ()
            zero_1 = Constant <value_ints: ints = [0]> ()
            one = Constant <value_ints: ints = [1]> ()
            minus_one = Constant <value_ints: ints = [-1]> ()
            heads_1 = Unsqueeze (heads, zero_1)
            by_head = Concat <axis: int = 0> (zero_1, heads_1, minus_one)
            q_heads = Reshape (query, by_head)
            k_heads = Reshape (key, by_head)
            v_heads = Reshape (value, by_head)
            head_size = Shape <start: int = 2, end: int = 3> (q_heads)
            q = Transpose <perm: ints = [1, 0, 2]> (q_heads)
            k = Transpose <perm: ints = [1, 0, 2]> (k_heads)
            v = Transpose <perm: ints = [1, 0, 2]> (v_heads)
            k_t = Transpose <perm: ints = [0, 2, 1]> (k)
            products = MatMul (q, k_t)
            size = CastLike (head_size, query)
            root = Sqrt (size)
            scores = Div (products, root)
            zero = Constant <value_int: int = 0> ()
            step = Constant <value_int: int = 1> ()
            tokens_1 = Shape <start: int = 0, end: int = 1> (query)
            tokens = Squeeze (tokens_1, zero_1)
            token = Range (zero, tokens, step)
            token_column = Unsqueeze (token, one)
            cumulative_64 = Cast <to: int = 7> (cumulative)
            behind = GreaterOrEqual (token_column, cumulative_64)
            behind_64 = Cast <to: int = 7> (behind)
            text = ReduceSum <keepdims: int = 0> (behind_64, one)
            text_column = Unsqueeze (text, one)
            same = Equal (text, text_column)
            lowest = Constant <value_float: float = -10000.0> ()
            lowest_like = CastLike (lowest, query)
            masked = Where (same, scores, lowest_like)
            weights = Softmax <axis: int = -1> (masked)
            attended = MatMul (weights, v)
            by_token = Transpose <perm: ints = [1, 0, 2]> (attended)
            flat = Constant <value_ints: ints = [0, -1]> ()
            context = Reshape (by_token, flat)
        }
        """
    )


@pytest.mark.parametrize(
    ("repository", "closeness"), [("demo_repository", 1e-5), ("demo_repository_fp16", 5e-3)]
)
def test_the_demo_model_gives_the_same_as_on_a_cpu(request, repository, closeness):
    """Twelve trained layers and real texts, beside the graph that the export compares."""
    repository = request.getfixturevalue(repository)
    newest = Manifest.read(repository).newest
    directory = repository / TRUNK.name / newest
    tokenizer = TextTokenizer(repository / TOKENIZER.name / newest / TOKENIZER_FILE)
    packed = tokenizer.pack(tokenizer.encode(REFERENCE_TEXTS), Truncation(64)).texts
    session = onnxruntime.InferenceSession(
        str(directory / GRAPH_FILE), providers=["CPUExecutionProvider"]
    )
    expected, expected_states = session.run(
        ["dense", "hidden_states"], {"input_ids": packed.input_ids, "lengths": packed.lengths}
    )
    dense, states = run_on_cpu(directory / CUDA_GRAPH_FILE, packed.input_ids, packed.lengths)

    assert np.isfinite(states).all()
    assert expected_states.dtype == states.dtype
    assert (dense * expected).sum(axis=1).min() >= 1 - closeness / 10
    np.testing.assert_allclose(dense, expected, atol=closeness)


def test_the_evaluators_operators_are_those_of_the_graph(graph):
    """Each operator that ONNX's evaluator lacks has its definition in the tests, and no other."""
    defined = {BiasGelu, PackedMultiHeadAttention, SkipLayerNormalization}

    assert {operator.__name__ for operator in defined} == {
        node.op_type for node in graph.graph.node if node.domain == MICROSOFT
    }
