"""What no live test can provoke: the common work of a batch fails; the limits for TensorRT."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
from triton_utilities import Request, triton_utilities


@pytest.fixture
def load(monkeypatch, tmp_path, tiny_tokenizer_file):
    """Load the model as Triton does, with further parameters in its configuration."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_utilities())
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "tokenizer.json").symlink_to(tiny_tokenizer_file)

    def load(**parameters: int):
        told = {"max_length_tokens": 8192} | parameters
        model = importlib.import_module("bgem3_backend.models.tokenizer").TritonPythonModel()
        model.initialize(
            {
                "model_config": json.dumps(
                    {
                        "parameters": {
                            name: {"string_value": str(value)} for name, value in told.items()
                        }
                    }
                ),
                "model_repository": str(tmp_path),
                "model_version": "1",
                "model_instance_kind": "CPU",
                "model_instance_device_id": "0",
            }
        )
        return model

    yield load
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def model(load):
    """The model, with the limits of its settings."""
    return load()


def request(*texts):
    """A request of some texts."""
    return Request(text=np.array([texts], np.object_))


def test_a_lack_of_memory_leaves_nobody_without_an_answer(model, monkeypatch):
    """What was read gets the contract's mark, a bad request its own reason; the next is right."""
    batch = [request(b"a", b"b"), request(b"\xff"), request(b"c")]

    def no_memory(texts):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model._tokenizer, "encode", no_memory)
        failed = model.execute(batch)
    following = model.execute(batch)

    assert [("INTERNAL", True), ("INVALID_ARG", False), ("INTERNAL", True)] == [
        (answer.error.code, answer.error.message.startswith("[out_of_memory] "))
        for answer in failed
    ]
    assert [None, "INVALID_ARG", None] == [
        answer.error and answer.error.code for answer in following
    ]
    assert (1, 2) == following[0].outputs["token_lengths"].shape


def test_columns_are_as_many_as_the_longest_text_has_tokens(model):
    """Of each request, so that Triton finds the longest of a batch."""
    answers = model.execute([request(b"a", b"a b c d", b""), request(b"b")])
    columns = [answer.outputs["columns"] for answer in answers]

    assert [np.int32] * 2 == [array.dtype for array in columns]
    assert [int(answer.outputs["lengths"].max()) for answer in answers] == [
        array.size for array in columns
    ]
    assert columns[0].size > columns[1].size


def test_a_configuration_may_lower_the_limits(load):
    """As the profiles for TensorRT do; it never raises those of the settings."""
    few_texts = load(max_texts_per_request=1, max_request_tokens=10**9)
    few_tokens = load(max_request_tokens=5)
    (one, two) = few_texts.execute([request(b"a"), request(b"a", b"b")])
    (short, long) = few_tokens.execute([request(b"a"), request(b"a b c d e f")])

    assert (None, None) == (one.error, short.error)
    assert "2 texts; at most 1 are taken" in two.error.message
    assert "at most 5 are taken" in long.error.message
    assert 32768 == few_texts._max_tokens
