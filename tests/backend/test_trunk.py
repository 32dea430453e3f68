"""The trunk's runner: order restored, memory bounded, each request answered once."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoint import HIDDEN_SIZE

from bgem3_backend.contract import TRUNK_WITH_HEADS
from bgem3_backend.packed_texts import PackedTexts
from bgem3_backend.trunk import Trunk, TrunkOutput
from bgem3_backend.trunk.onnx_engine import OnnxEngine
from bgem3_backend.trunk.openvino_engine import OpenVinoEngine

MICROBATCH_TOKENS = 24


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def trunk(request, tiny_graph) -> Trunk:
    """A trunk with a budget of a few tokens, in either engine."""
    if request.param == "onnxruntime":
        return Trunk(OnnxEngine(tiny_graph, threads=1), MICROBATCH_TOKENS)
    return Trunk(OpenVinoEngine(tiny_graph, 1, "openvino-fp32"), MICROBATCH_TOKENS)


@pytest.fixture(scope="module")
def session(tiny_graph) -> onnxruntime.InferenceSession:
    """The same graph, run directly."""
    return onnxruntime.InferenceSession(str(tiny_graph), providers=["CPUExecutionProvider"])


def request_of(lengths: list[int], seed: int = 0) -> PackedTexts:
    """Return a request of random texts of these lengths."""
    ids = np.random.default_rng(seed).integers(0, 300, sum(lengths))
    return PackedTexts(ids.astype(np.int32), np.array(lengths, np.int32))


def ignore(tokens: int, padded_tokens: int) -> None:
    """Count nothing."""


def alone(session, text) -> tuple[np.ndarray, np.ndarray]:
    """Run one text by itself: its dense vector and its hidden states."""
    dense, states = session.run(
        ["dense", "hidden_states"],
        {"input_ids": text, "lengths": np.array([text.size], np.int32)},
    )
    return dense[0], states


@settings(max_examples=40)
@given(
    batch=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=5),
    seed=st.integers(0, 3),
)
def test_each_text_equals_itself_alone(trunk, session, batch, seed):
    """Whatever else is in its request and in the batch, every row is where it belongs."""
    requests = [request_of(lengths, seed + number) for number, lengths in enumerate(batch)]
    answered = []
    for position, output in trunk.run(requests, ignore):
        answered.append(position)
        request = requests[position]
        texts = np.split(request.input_ids, request.starts[1:])
        states = np.split(output.hidden_states, request.starts[1:])
        for number, text in enumerate(texts):
            dense, expected = alone(session, text)
            np.testing.assert_allclose(output.dense[number], dense, atol=1e-5)
            np.testing.assert_allclose(states[number], expected, atol=1e-5)

    assert list(range(len(batch))) == sorted(answered)


def test_the_answers_have_the_contracts_shapes(trunk):
    """FP32 [N, H] and [T, H]."""
    ((position, output),) = trunk.run([request_of([3, 1, 30])], ignore)

    assert 0 == position
    assert ((3, HIDDEN_SIZE), np.float32) == (output.dense.shape, output.dense.dtype)
    assert (34, HIDDEN_SIZE) == output.hidden_states.shape
    assert np.float32 == output.hidden_states.dtype


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def trunk_with_heads(request, tiny_graph) -> Trunk:
    """The same, with the heads in the graph."""
    graph = tiny_graph.with_name("model.heads.onnx")
    if request.param == "onnxruntime":
        return Trunk(OnnxEngine(graph, threads=1), MICROBATCH_TOKENS)
    return Trunk(OpenVinoEngine(graph, 1, "openvino-fp32"), MICROBATCH_TOKENS)


@settings(max_examples=25)
@given(
    batch=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5), min_size=1, max_size=4),
    outputs=st.lists(st.sampled_from(TRUNK_WITH_HEADS.outputs), min_size=1, unique=True),
)
def test_each_text_has_its_own_rows_of_every_output(trunk_with_heads, batch, outputs):
    """One a text, one a token, one for each token but the first; those that were asked for."""
    names = [tensor.name for tensor in outputs]
    requests = [request_of(lengths, number) for number, lengths in enumerate(batch)]
    for position, output in trunk_with_heads.run(requests, ignore, outputs):
        request = requests[position]
        alone = [
            trunk_with_heads.engine.run(text, np.array([text.size], np.int32), names)
            for text in np.split(request.input_ids, request.starts[1:])
        ]

        assert names == list(output.arrays)
        for tensor, expected in zip(outputs, zip(*alone, strict=True), strict=True):
            wanted, found = np.concatenate(expected), output.arrays[tensor.name]
            assert (wanted.shape, wanted.dtype) == (found.shape, found.dtype)
            np.testing.assert_allclose(found, wanted, atol=1e-3 if "16" in tensor.name else 1e-5)


def test_a_short_request_does_not_wait_for_a_long_one(trunk):
    """Each is yielded as soon as its last text is done; texts are computed short ones first."""
    requests = [request_of([40]), request_of([2, 3]), request_of([3, 35])]

    assert [1, 2, 0] == [position for position, _ in trunk.run(requests, ignore)]


def test_no_requests_give_no_answers(trunk):
    """A batch whose requests were all refused is no error."""
    assert [] == list(trunk.run([], ignore))


@given(batch=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), max_size=4))
@settings(max_examples=20)
def test_the_counted_tokens_are_those_of_the_batch(trunk, batch):
    """Each token once; with padding at least as many, and within the budget or one text."""
    counted = []
    requests = [request_of(lengths) for lengths in batch]
    list(trunk.run(requests, lambda tokens, padded: counted.append((tokens, padded))))

    assert sum(map(sum, batch)) == sum(tokens for tokens, _ in counted)
    assert all(
        tokens == padded or tokens < padded <= MICROBATCH_TOKENS for tokens, padded in counted
    )


def test_padding_is_counted(trunk):
    """Two texts of 3 and 5 tokens in one run are 8 tokens, 10 with the padding of attention."""
    counted = []
    list(trunk.run([request_of([5, 3])], lambda *figures: counted.append(figures)))

    assert [(8, 10)] == counted


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("of", ["dense", "hidden_states"])
def test_an_output_with_a_bad_number_names_its_text(of, value):
    """One is enough, in a dense vector or in the state of any token, the last one included."""
    lengths = np.array([4, 1], np.int32)
    output = TrunkOutput(
        {
            "dense": np.ones((2, HIDDEN_SIZE), np.float32),
            "hidden_states": np.ones((5, HIDDEN_SIZE), "f2"),
        }
    )
    before = output.not_finite_texts(lengths)
    output.arrays[of][-1, 3] = value

    assert [] == before
    assert [1] == output.not_finite_texts(lengths)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is there"
)
def test_a_device_that_is_not_there_is_refused(tiny_graph):
    """ONNX Runtime would take the CPU instead, and only warn."""
    with pytest.raises(ValueError, match=r"no CUDAExecutionProvider here; it has .*CPU"):
        OnnxEngine(tiny_graph, threads=1, device="cuda")
