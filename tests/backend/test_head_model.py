"""A head's batch when torch gets no memory: what no live test can provoke without a GPU."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import torch
from triton_utilities import Logger, Request, triton_utilities


@pytest.fixture
def execute(monkeypatch):
    """Answer the requests of a head without a layer, whose outputs are what they hold."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_utilities())
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module("bgem3_backend.models.head_model")

    class Head(module.HeadModel):
        _nonfinite_texts = None

        def prepare(self, config: object) -> None:
            """Nothing to prepare."""

        def outputs(self, request: Any) -> list[Any]:
            """Raise what the request holds, if anything."""
            if error := request.inputs.get("error"):
                raise error
            return []

    yield Head().execute
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_gpu_without_memory_is_told_with_what_to_do(execute):
    """By the mark of the contract; the details go to the log, the neighbour is answered."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    failed, answered = execute([Request(error=error), Request()])

    assert "INTERNAL" == failed.error.code
    assert failed.error.message.startswith("[out_of_memory] the server had not enough memory")
    assert answered.error is None
    assert any("Tried to allocate 2.00 GiB" in line for line in Logger.errors)
