"""Live sets, shapes and workspaces of small graphs that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bgem3_backend.contract import TRUNK
from bgem3_export.errors import RepositoryError, UnknownOperatorError
from bgem3_export.manifest import Manifest
from bgem3_export.planning.graph_shapes import ShapedNode, TensorType
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.planning.workspaces import Processor, workspace_bytes

WIDTH = 64
FLOAT = 4
PROCESSOR = Processor(threads=1, l2_cache_bytes=0)


def write_graph(
    folder: Path, nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]]
) -> TrunkMemory:
    """A graph from the ids to `out` [tokens, WIDTH], whose weights are elsewhere."""
    initializers = []
    for name, shape in weights.items():
        tensor = TensorProto(
            name=name,
            data_type=TensorProto.FLOAT,
            dims=shape,
            data_location=TensorProto.EXTERNAL,
        )
        tensor.external_data.add(key="location", value="model.onnx.data")
        initializers.append(tensor)
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["tokens"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["texts"]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["tokens", WIDTH])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets), str(path))
    return TrunkMemory(path, "cpu", PROCESSOR, 8192)


def test_weights_are_counted_without_being_read(tmp_path):
    nodes = [helper.make_node("Gather", ["word_embeddings", "input_ids"], ["out"])]
    memory = write_graph(tmp_path, nodes, {"word_embeddings": (1000, WIDTH)})

    assert 1000 * WIDTH * FLOAT == memory.weights_bytes == memory.embedding_table_bytes


def test_a_value_is_alive_until_its_last_use(tmp_path):
    """And longer, where a later value of the same shape is put into its memory."""
    nodes = [
        helper.make_node("Gather", ["word_embeddings", "input_ids"], ["words"]),
        helper.make_node("MatMul", ["words", "up"], ["wide"]),
        helper.make_node("Softmax", ["wide"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["narrow"]),
        helper.make_node("LayerNormalization", ["narrow", "norm"], ["out"]),
    ]
    weights = {
        "word_embeddings": (1000, WIDTH),
        "up": (WIDTH, 4 * WIDTH),
        "down": (4 * WIDTH, WIDTH),
        "norm": (WIDTH,),
    }
    peak = write_graph(tmp_path, nodes, weights).live([100, 20])

    # `wide` and `active`, and the memory of the words, which `narrow` gets.
    assert ("active", 120 * (4 + 4 + 1) * WIDTH * FLOAT) == (peak.live_at, peak.live_bytes)


def test_a_sum_is_written_over_a_term_that_nobody_needs(tmp_path):
    nodes = [
        helper.make_node("Gather", ["word_embeddings", "input_ids"], ["words"]),
        helper.make_node("Gather", ["word_embeddings", "input_ids"], ["others"]),
        helper.make_node("Add", ["words", "others"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "norm"], ["out"]),
    ]
    memory = write_graph(tmp_path, nodes, {"word_embeddings": (9, WIDTH), "norm": (WIDTH,)})

    assert 2 * 50 * WIDTH * FLOAT == memory.live([50]).live_bytes


def test_an_operator_without_a_rule_is_told(tmp_path):
    nodes = [
        helper.make_node("Gather", ["word_embeddings", "input_ids"], ["words"]),
        helper.make_node("Mystery", ["words"], ["out"], domain="com.microsoft", name="layer"),
    ]

    with pytest.raises(UnknownOperatorError, match=r"com.microsoft.Mystery \('layer'\)"):
        write_graph(tmp_path, nodes, {"word_embeddings": (9, WIDTH)})


def test_a_missing_graph_is_told(tmp_path):
    with pytest.raises(RepositoryError, match="is not there"):
        TrunkMemory(tmp_path / "model.onnx", "cpu", PROCESSOR, 8192)


def test_a_damaged_graph_is_told(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 40)

    with pytest.raises(RepositoryError, match="no ONNX graph"):
        TrunkMemory(tmp_path / "model.onnx", "cpu", PROCESSOR, 8192)


@pytest.mark.parametrize("file", ["model.onnx", "model.cuda.onnx", "model.tensorrt.onnx"])
def test_every_graph_that_the_export_writes_can_be_planned_for(demo_repository, file):
    newest = Manifest.read(demo_repository).newest
    graph = demo_repository / TRUNK.name / newest / file
    memory = TrunkMemory(graph, "cuda", PROCESSOR, 8192)
    one, two = (memory.live([64] * texts).live_bytes for texts in (4, 8))

    assert memory.weights_bytes > 2e8
    # Twice the tokens of the same length take twice as much, but for what has one size.
    assert two == pytest.approx(2 * one, rel=0.01)


@pytest.mark.parametrize(("file", "pads"), [("model.cuda.onnx", False), ("model.onnx", True)])
def test_the_graph_for_cuda_costs_its_tokens(demo_repository, file, pads):
    """Also where one text is long; the portable graph takes as if all were."""
    newest = Manifest.read(demo_repository).newest
    graph = demo_repository / TRUNK.name / newest / file

    assert pads == TrunkMemory(graph, "cuda", PROCESSOR, 8192).pads()


def test_the_graph_for_cuda_keeps_nothing_wide_during_attention(demo_repository):
    """Most is alive where a feed-forward layer has its two wide tensors, and so the next has them.

    Were the sizes of the inputs named, ONNX Runtime would keep the first layer's for the second.
    """
    manifest = Manifest.read(demo_repository)
    graph = demo_repository / TRUNK.name / manifest.newest / "model.cuda.onnx"
    peak = TrunkMemory(graph, "cuda", PROCESSOR, 8192).live([512] * 8)
    hidden = manifest.model.hidden_size

    assert "layer_0_activated" == peak.live_at
    assert peak.live_bytes == pytest.approx(4096 * (2 * 4 + 1) * hidden * FLOAT, rel=0.01)


def test_flash_attention_keeps_a_number_for_each_head_and_place():
    """In FP16; memory-efficient attention, in FP32, keeps nothing."""
    inputs = ("query", "key", "value", "", "offset", "cumulative")
    node = ShapedNode("PackedMultiHeadAttention", inputs, ("context",), {"num_heads": 4})

    def workspace(element: int, node: ShapedNode) -> list[int]:
        types = {name: TensorType(element, (40, WIDTH)) for name in ("query", "context")}
        types["offset"] = TensorType(TensorProto.INT32, (3, 20))
        return workspace_bytes(node, types, "cuda", PROCESSOR)

    with_bias = replace(node, inputs=("query", "key", "value", "bias", "offset", "cumulative"))

    assert [3 * 20 * 4 * FLOAT] == workspace(TensorProto.FLOAT16, node)
    assert [] == workspace(TensorProto.FLOAT, node)
    assert [3 * 20 * 3 * WIDTH * FLOAT] == workspace(TensorProto.FLOAT, with_bias)


def test_memory_that_is_kept_never_shrinks_below_one_batch(demo_repository):
    newest = Manifest.read(demo_repository).newest
    graph = demo_repository / TRUNK.name / newest / "model.onnx"
    memory = TrunkMemory(graph, "cuda", PROCESSOR, 8192)
    live = memory.live([512] * 4).live_bytes
    back, kept = (
        memory.reserved_bytes(2048, "kSameAsRequested", gives_back=gives_back)
        for gives_back in (True, False)
    )

    assert live <= back < kept
    assert np.isclose(back, live, rtol=1.5)
