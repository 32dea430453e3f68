"""What a model lets go of when it is unloaded: Triton's process dies of what is left."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref

import pytest
from triton_utilities import triton_utilities


@pytest.mark.parametrize("model", ["tokenizer", "cpu_trunk", "sparse", "colbert", "sparse_merge"])
def test_metrics_do_not_outlive_their_model(monkeypatch, model):
    """A counter and a gauge are gone once the model is unloaded, and unloading again is nothing.

    Triton is not told: it would free what a model of another version still writes to.
    """
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_utilities())
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)
    metrics = importlib.import_module("bgem3_backend.models.metrics")
    served = importlib.import_module(f"bgem3_backend.models.{model}").TritonPythonModel
    counter = metrics.Counter("texts_total", "Texts", model)
    gauge = metrics.Gauge("ratio", "A ratio", model)
    counter.add(1)
    gauge.set(1)
    told: list[str] = []
    for held in (counter._metric, gauge._metric, counter._family, gauge._family):
        weakref.finalize(held, told.append, "freed")

    for _ in range(2):
        served.finalize(served.__new__(served))

    gc.collect()
    assert [] == told
    for use in (lambda: counter.add(1), lambda: gauge.set(1)):
        with pytest.raises(AttributeError):
            use()
    for name in [name for name in sys.modules if name.startswith("bgem3_backend.models")]:
        monkeypatch.delitem(sys.modules, name)
