"""The tokenizer's batch when its common work fails: what no live test can provoke."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
from triton_utilities import Request, triton_utilities


@pytest.fixture
def model(monkeypatch, tmp_path, tiny_tokenizer_file):
    """The model as Triton loads it."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_utilities())
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "tokenizer.json").symlink_to(tiny_tokenizer_file)
    model = importlib.import_module("bgem3_backend.models.tokenizer").TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps(
                {"parameters": {"max_length_tokens": {"string_value": "8192"}}}
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
