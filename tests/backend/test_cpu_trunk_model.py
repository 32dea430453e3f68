"""The CPU trunk's batch when something in it goes wrong: what no live test can provoke."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from triton_utilities import (
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    Logger,
    MetricFamily,
    Request,
    triton_utilities,
)

from bgem3_backend.trunk import TrunkOutput
from bgem3_backend.trunk.choice import EngineChoice
from bgem3_backend.trunk.engine import EngineDescription

ARENA = (
    "bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, "
    "onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 37748736\n"
)


@pytest.fixture
def model(monkeypatch, tmp_path):
    """The model as Triton loads it, but for the graph."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_utilities())
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("bgem3_backend.models.cpu_trunk")
    choice = EngineChoice("openvino-bf16", "the processor has amx_bf16")
    monkeypatch.setattr(module, "load_engine", lambda graph, settings: (Engine(), choice))
    parameters = {"vocabulary_size": "100", "max_length_tokens": "8192"}
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps(
                {"parameters": {k: {"string_value": v} for k, v in parameters.items()}}
            ),
            "model_repository": str(tmp_path),
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    yield model
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)


class Engine:
    """Says what it is; the tests put a :class:`Trunk` in place of what it would run."""

    description = EngineDescription("openvino-bf16", "2026.4.1", 2)


class Trunk:
    """Answers requests in the reverse of their order; may give NaN, or fail after some."""

    def __init__(self, nan_at=None, fails_after=None, error=None, microbatch_tokens=1024):
        self.nan_at, self.fails_after = nan_at, fails_after
        self.microbatch_tokens = microbatch_tokens
        self.error = error or RuntimeError("the graph is broken")

    def run(self, requests, on_microbatch, outputs):
        on_microbatch(6, 8)
        for answered, position in enumerate(reversed(range(len(requests)))):
            if answered == self.fails_after:
                raise self.error
            size = requests[position].input_ids.size
            value = np.nan if position == self.nan_at else position
            dense = np.full((requests[position].lengths.size, 4), value, np.float32)
            states = np.full((size, 4), position, np.float32)
            answer = {"dense": dense, "hidden_states": states}
            yield position, TrunkOutput({tensor.name: answer[tensor.name] for tensor in outputs})


def request(*ids, lengths=None, outputs=("dense", "hidden_states")):
    """One text for both outputs, unless said otherwise."""
    return Request(
        outputs,
        input_ids=np.array([ids], np.int32),
        lengths=np.array([lengths or [len(ids)]], np.int32),
    )


def test_the_engine_and_why_are_in_the_log_and_in_the_metrics(model):
    """Whoever looks at a slow or an inexact server sees at once what it computes with."""
    assert (
        "bge_m3_trunk runs in openvino-bf16 (2026.4.1, 2 threads): the processor has amx_bf16"
        == Logger.lines[-1]
    )
    assert 1 == MetricFamily.made["bgem3_trunk_engine_info"].value


def test_each_request_gets_its_own_answer(model):
    """In their order, whatever order they are computed in; work is counted."""
    model._trunk = Trunk()
    responses = model.execute([request(0, 2), request(0, 5, 2), request(0, 7, 8, 2)])

    assert [0.0, 1.0, 2.0] == [float(answer.outputs["dense"][0, 0, 0]) for answer in responses]
    assert [2, 3, 4] == [answer.outputs["hidden_states"].shape[1] for answer in responses]
    assert 6 == MetricFamily.made["bgem3_trunk_tokens_total"].value
    assert 0.75 == MetricFamily.made["bgem3_packing_efficiency_ratio"].value


def test_each_request_gets_the_outputs_that_it_asks_for(model):
    """No more; what none of them asks for is not computed."""
    model._trunk = Trunk()
    responses = model.execute([request(0, 2, outputs=["dense"]), request(0, 5, 2)])
    (alone,) = model.execute([request(0, 2, outputs=["dense"])])

    assert [["dense"], ["dense", "hidden_states"]] == [list(each.outputs) for each in responses]
    assert ["dense"] == list(alone.outputs)


def test_a_bad_request_fails_alone(model):
    """It never reaches the trunk, and its neighbours keep their places."""
    model._trunk = Trunk()
    responses = model.execute([request(0, 2), request(0, 100, 2), request(0, 2)])

    assert [None, "INVALID_ARG", None] == [
        answer.error and answer.error.code for answer in responses
    ]
    assert 1.0 == responses[2].outputs["dense"][0, 0, 0]


def test_a_vector_that_is_not_finite_is_withheld(model):
    """An error for that request alone, which says what and in which text; the texts are counted."""
    model._trunk = Trunk(nan_at=1)
    responses = model.execute([request(0, 2), request(0, 5, 6, 2, lengths=[1, 3]), request(0, 2)])

    assert [None, "INTERNAL", None] == [answer.error and answer.error.code for answer in responses]
    assert {} == responses[1].outputs
    assert responses[1].error.message.startswith("[not_finite] [index=0] the model gave a vector")
    assert 2 == MetricFamily.made["bgem3_nonfinite_texts_total"].value


def test_a_graph_that_fails_fails_only_what_still_waits(model):
    """What was done before is answered; the rest gets the reason, and the log the traceback."""
    model._trunk = Trunk(fails_after=1)
    responses = model.execute([request(0, 2), request(0, 2), request(0, 2)])

    assert ["INTERNAL", "INTERNAL", None] == [
        answer.error and answer.error.code for answer in responses
    ]
    assert "the graph is broken" == responses[0].error.message
    assert any("RuntimeError" in line for line in Logger.errors)


def sent(request):
    """Return the one response that was sent to a request, which must be marked as final."""
    ((response, flags),) = request.sender.sent
    assert flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL
    return response


def test_in_a_large_batch_each_answer_leaves_as_soon_as_it_is_there(model):
    """A short text does not wait for the long ones, and nothing that was sent is kept."""
    requests = [request(0, 2), request(0, 100, 2), request(0, 5, 6, 2)]
    already_sent = []

    class Watched(Trunk):
        def run(self, texts, on_microbatch, outputs):
            for answer in super().run(texts, on_microbatch, outputs):
                already_sent.append([len(each.sender.sent) for each in requests])
                yield answer

    model._trunk = Watched(microbatch_tokens=4)

    assert model.execute(requests) is None
    # The bad one at once; the last one before the first one was computed.
    assert [[0, 1, 0], [0, 1, 1]] == already_sent
    assert [None, "INVALID_ARG", None] == [
        sent(each).error and sent(each).error.code for each in requests
    ]
    assert 1.0 == sent(requests[2]).outputs["dense"][0, 0, 0]


def test_a_graph_that_fails_in_a_large_batch_leaves_nobody_without_an_answer(model):
    """Nothing may leave `execute` after a response was sent, or Triton ends."""
    model._trunk = Trunk(fails_after=1, microbatch_tokens=4)
    requests = [request(0, 2), request(0, 2), request(0, 2)]

    assert model.execute(requests) is None
    assert ["INTERNAL", "INTERNAL", None] == [
        sent(each).error and sent(each).error.code for each in requests
    ]


def test_a_single_request_is_answered_at_the_end(model):
    """Sending it before would be one message more, for nothing."""
    model._trunk = Trunk(microbatch_tokens=1)
    alone = request(0, 5, 6, 2)
    (response,) = model.execute([alone])

    assert response.error is None
    assert [] == alone.sender.sent


def failed_allocation(of):
    """Return the error that a library raises when it gets no memory."""
    with pytest.raises(Exception) as caught:
        of(10**15)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        failed_allocation(np.empty),
        failed_allocation(torch.empty),
        failed_allocation(bytearray),
        Fail("[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned: " + ARENA),
    ],
    ids=["numpy", "torch", "python", "onnxruntime"],
)
def test_a_lack_of_memory_is_told_with_what_to_do(model, error):
    """By the mark of the contract; the details go to the log, the next batch is answered."""
    model._trunk = Trunk(fails_after=1, error=error)
    responses = model.execute([request(0, 2), request(0, 2)])
    model._trunk = Trunk()
    (following,) = model.execute([request(0, 2)])

    assert [
        "[out_of_memory] the server had not enough memory for this request: send fewer or shorter "
        "texts at once",
        None,
    ] == [answer.error and answer.error.message for answer in responses]
    assert "INTERNAL" == responses[0].error.code
    assert any(str(error) in line for line in Logger.errors)
    assert following.error is None


def test_a_batch_without_a_good_request_runs_nothing(model):
    """The trunk is asked for nothing, and everybody is answered."""
    model._trunk = Trunk(fails_after=0)
    (response,) = model.execute([request(0, 2, lengths=[5])])

    assert "INVALID_ARG" == response.error.code
