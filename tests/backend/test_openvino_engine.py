"""OpenVINO with the exported graph: the same numbers, nothing kept that should not be."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_checkpoint import HIDDEN_SIZE

from bgem3_backend.trunk.onnx_engine import OnnxEngine
from bgem3_backend.trunk.openvino_engine import OpenVinoEngine
from bgem3_backend.trunk.processor import BF16_FEATURES, processor_features

MIXES = [[1], [3], [40], [5, 5], [1, 30, 7], [12] * 5]


@pytest.fixture(scope="module")
def reference(tiny_graph) -> OnnxEngine:
    """The graph in ONNX Runtime."""
    return OnnxEngine(tiny_graph, threads=1)


@pytest.fixture(scope="module")
def engine(tiny_graph) -> OpenVinoEngine:
    """The graph in OpenVINO, FP32."""
    return OpenVinoEngine(tiny_graph, 1, "openvino-fp32")


def texts_of(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return random tokens, the padding token among them, for texts of these lengths."""
    ids = np.random.default_rng(sum(lengths)).integers(0, 300, sum(lengths))
    ids[::7] = 1
    return ids.astype(np.int32), np.array(lengths, np.int32)


@pytest.mark.parametrize("lengths", MIXES)
def test_fp32_equals_onnx_runtime(engine, reference, lengths):
    """One text and several, where ONNX Runtime takes two ways through attention."""
    actual, expected = engine.run(*texts_of(lengths)), reference.run(*texts_of(lengths))

    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(actual[1], expected[1], atol=2e-5)
    assert [np.float32, np.float32] == [array.dtype for array in actual]
    assert (sum(lengths), HIDDEN_SIZE) == actual[1].shape


@pytest.mark.parametrize("lengths", MIXES)
def test_bf16_is_close(tiny_graph, reference, lengths):
    """Three digits of each number; the direction of the dense vectors to four nines."""
    actual = OpenVinoEngine(tiny_graph, 1, "openvino-bf16").run(*texts_of(lengths))
    expected = reference.run(*texts_of(lengths))

    assert (actual[0] * expected[0]).sum(axis=1).min() > 0.9998
    # Elsewhere OpenVINO computes in FP32; the choice of an engine does not let it come to that.
    has_bf16 = bool(processor_features().intersection(BF16_FEATURES))
    assert has_bf16 == (np.abs(actual[1] - expected[1]).max() > 1e-4)


def test_an_answer_is_not_overwritten_by_the_next(engine):
    """What run() returns belongs to the caller."""
    dense, states = engine.run(*texts_of([5, 9]))
    kept = dense.copy(), states.copy()
    engine.run(*texts_of([9, 5]))

    np.testing.assert_array_equal(kept[0], dense)
    np.testing.assert_array_equal(kept[1], states)


def test_a_failed_run_does_not_spoil_the_next(tiny_graph, reference, monkeypatch):
    """OpenVINO's compiled graph keeps the shapes of the run that failed; it is made anew."""

    def fail(inputs, **options):
        raise RuntimeError("Failed to allocate 37748736 bytes of memory")

    engine = OpenVinoEngine(tiny_graph, 1, "openvino-fp32")
    ids, lengths = texts_of([5, 9])
    monkeypatch.setattr(engine, "_compiled", fail)
    with pytest.raises(RuntimeError, match="37748736"):
        engine.run(ids, lengths)
    states = engine.run(ids, lengths)[1]

    np.testing.assert_allclose(states, reference.run(ids, lengths)[1], atol=2e-5)


def test_a_graph_of_another_release_is_refused(tmp_path):
    """By the value that it lacks, not by a crash later."""
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "other", [value], [other])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    with pytest.raises(RuntimeError, match=r"no value 'words'.*another release"):
        OpenVinoEngine(path, 1, "openvino-fp32")
