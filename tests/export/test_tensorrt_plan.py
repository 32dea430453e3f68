"""Plans are built for the batches that will come, kept, and never for another GPU."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import torch
from fake_tensorrt import FakeTensorRT

from bgem3_client.cache_folder import cache_folder
from bgem3_export.errors import EngineError
from bgem3_export.manifest import EngineTarget
from bgem3_export.tensorrt.gpu import find_target, load_tensorrt
from bgem3_export.tensorrt.length_mix import Range, batch_shapes
from bgem3_export.tensorrt.plan import PlanBuilder
from bgem3_export.trunk_graph import TENSORRT_GRAPH_FILE, write_trunk_graph

TARGET = EngineTarget(tensorrt="10.15.1.29", gpu="NVIDIA L4", compute_capability="8.9")
PASSAGES = batch_shapes("passages", 8192)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    """Nothing is found that another test has built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tensorrt() -> FakeTensorRT:
    """NVIDIA's package."""
    return FakeTensorRT()


@pytest.fixture
def builder(tensorrt) -> PlanBuilder:
    """A machine with a GPU."""
    return PlanBuilder(tensorrt, TARGET)


@pytest.fixture
def graph(tiny_checkpoint, tmp_path) -> Path:
    """The tiny trunk's graph for TensorRT."""
    directory = tmp_path / "graph"
    directory.mkdir()
    write_trunk_graph(tiny_checkpoint, directory, "fp16")
    return directory / TENSORRT_GRAPH_FILE


def engine(plan: Path) -> dict:
    """Return what the fake engine was built with."""
    return ast.literal_eval(plan.read_text())


def test_the_plan_is_for_the_batches_that_come(builder, graph):
    """One range for each input, whatever TensorRT would choose; and the graph's own types."""
    plan = builder.write(graph, PASSAGES, "fp16")

    assert graph.with_name("model.plan") == plan
    assert {
        "input_ids": ((1,), (3072,), (32768,)),
        "lengths": ((1,), (16,), (32,)),
        "columns": ((1,), (1024,), (4096,)),
        "longest": ((1,), (256,), (1024,)),
    } == engine(plan)["shapes"]
    assert 1 << 1 == engine(plan)["network"]


@pytest.mark.parametrize(("precision", "flags"), [("fp16", ["TF32"]), ("fp32", [])])
def test_fp32_is_not_rounded(builder, graph, precision, flags):
    """TensorRT would multiply FP32 in TF32 unless it is told otherwise."""
    assert flags == engine(builder.write(graph, PASSAGES, precision))["flags"]


@pytest.mark.parametrize(
    ("mix", "longest", "texts"),
    [
        ("queries", Range(1, 16, 256), Range(1, 32, 128)),
        ("passages", Range(1, 256, 1024), Range(1, 16, 32)),
        ("documents", Range(1, 2048, 8192), Range(1, 2, 4)),
    ],
)
def test_each_mix_pads_to_the_same_number_of_rows(mix, longest, texts):
    """Texts times the longest is what attention takes memory for."""
    shapes = batch_shapes(mix, 8192)

    assert (longest, texts) == (shapes.longest, shapes.texts)
    assert 32_768 == shapes.texts.maximum * shapes.longest.maximum == shapes.tokens.maximum


def test_no_mix_goes_beyond_the_model():
    """A model of 510 tokens is planned for 510."""
    shapes = batch_shapes("documents", 510)

    assert Range(1, 510, 510) == shapes.longest
    assert 64 == shapes.texts.maximum


def test_a_plan_is_built_once(builder, tensorrt, graph):
    """The second export of the same weights, for the same batches, takes what is there."""
    first = builder.write(graph, PASSAGES, "fp16").read_bytes()
    second = builder.write(graph, PASSAGES, "fp16").read_bytes()

    assert first == second
    assert 1 == tensorrt.builds


def spoilt_weights(graph: Path) -> None:
    """Change a weight."""
    data = graph.with_name("model.onnx.data")
    data.write_bytes(data.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("changed", "shapes", "change"),
    [
        ({}, batch_shapes("queries", 8192), lambda graph: None),
        ({}, PASSAGES, spoilt_weights),
        ({"gpu": "NVIDIA L40S"}, PASSAGES, lambda graph: None),
        ({"compute_capability": "9.0"}, PASSAGES, lambda graph: None),
        ({"tensorrt": "10.16.0.1"}, PASSAGES, lambda graph: None),
    ],
    ids=["batches", "weights", "gpu", "compute capability", "tensorrt"],
)
def test_another_plan_is_not_taken_for_it(builder, tensorrt, graph, changed, shapes, change):
    """Whatever decides what is in a plan decides which one is taken."""
    builder.write(graph, PASSAGES, "fp16")
    change(graph)
    PlanBuilder(tensorrt, TARGET.model_copy(update=changed)).write(graph, shapes, "fp16")

    assert 2 == tensorrt.builds


def test_timings_are_kept_for_the_next_build_on_the_same_gpu(builder, tensorrt, graph):
    """Not for another one, where they would be wrong."""
    builder.write(graph, PASSAGES, "fp16")
    builder.write(graph, batch_shapes("queries", 8192), "fp16")
    other = TARGET.model_copy(update={"gpu": "NVIDIA L40S"})
    PlanBuilder(tensorrt, other).write(graph, PASSAGES, "fp16")
    kept = {
        path.name: path.read_bytes() for path in (cache_folder() / "tensorrt").glob("*.timings")
    }

    assert {
        "10.15.1.29-NVIDIA-L4-8.9.timings": b"timed;timed;",
        "10.15.1.29-NVIDIA-L40S-8.9.timings": b"timed;",
    } == kept


def test_timings_of_another_machine_are_replaced(builder, graph):
    """Which TensorRT does not take, and so does not add to."""
    builder.write(graph, PASSAGES, "fp16")
    (timings,) = (cache_folder() / "tensorrt").glob("*.timings")
    timings.write_bytes(b"elsewhere;")
    builder.write(graph, batch_shapes("queries", 8192), "fp16")

    assert b"timed;" == timings.read_bytes()


def test_what_the_parser_says_is_told(builder, tensorrt, graph):
    """All of it, with the version, and what to do instead."""
    tensorrt.problems = ["node 3 (Erf): no", "node 4 (Gather): no"]

    with pytest.raises(EngineError, match=r"(?s)10\.15\.1\.29 does not read.*Erf.*Gather.*profile"):
        builder.write(graph, PASSAGES, "fp16")
    assert not graph.with_name("model.plan").exists()


def test_a_failed_build_leaves_nothing(builder, tensorrt, graph):
    """Neither a plan nor half of one, so that the next export tries again."""
    tensorrt.fails = True
    with pytest.raises(EngineError, match="--length-mix"):
        builder.write(graph, PASSAGES, "fp16")
    left = [path.name for path in (cache_folder() / "tensorrt").iterdir()]
    tensorrt.fails = False
    builder.write(graph, PASSAGES, "fp16")

    assert [] == left
    assert 1 == tensorrt.builds


def test_without_tensorrt_it_says_what_to_install(monkeypatch):
    """And where."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)

    with pytest.raises(EngineError, match=r"(?s)pip install tensorrt.*Triton container"):
        load_tensorrt()


def test_an_old_tensorrt_is_refused(monkeypatch):
    """Strongly typed networks, and the types of the layout, came with TensorRT 10."""
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT("8.6.1"))

    with pytest.raises(EngineError, match=r"10 or later, and this is 8\.6\.1"):
        load_tensorrt()


def test_without_a_gpu_it_says_where_to_run(monkeypatch, tensorrt):
    """A plan is built where it will run."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(EngineError, match="no NVIDIA GPU here"):
        find_target(tensorrt)


def test_the_target_is_this_machine(monkeypatch, tensorrt):
    """TensorRT's version, the GPU's name and its compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))

    assert TARGET == find_target(tensorrt)
