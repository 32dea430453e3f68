"""The project's own metrics on Triton's metrics port."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import triton_python_backend_utils as pb_utils

from bgem3_backend.contract import TRUNK
from bgem3_backend.trunk.engine import EngineDescription

# Of this process, which runs one instance of one model.
_open: list[_Metric] = []


class _Metric:
    """A metric of one model, from its making until :func:`close_metrics`."""

    def __init__(
        self, name: str, description: str, kind: object, model: str, labels: Mapping[str, str]
    ) -> None:
        # Held: Triton refuses a metric whose family is gone.
        self._family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self._metric = self._family.Metric(labels={"model": model, **labels})
        _open.append(self)

    def close(self) -> None:
        """Forget it without telling Triton; it cannot be used any more."""
        for held in (self._metric, self._family):
            # One reference too many: its destructor, which would tell Triton, never runs.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
        del self._metric
        del self._family


class Counter(_Metric):
    """A Prometheus counter of one model."""

    def __init__(self, name: str, description: str, model: str) -> None:
        super().__init__(name, description, pb_utils.MetricFamily.COUNTER, model, {})

    def add(self, amount: int) -> None:
        """Add to the counter."""
        self._metric.increment(amount)


class Gauge(_Metric):
    """A Prometheus gauge of one model."""

    def __init__(
        self, name: str, description: str, model: str, labels: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, description, pb_utils.MetricFamily.GAUGE, model, labels or {})

    def set(self, value: float) -> None:
        """Set the gauge."""
        self._metric.set(value)


def close_metrics() -> None:
    """Leave all metrics to Triton, when a model is unloaded; it goes on showing them.

    Two models with metrics of one name share a family there, and release 24.10 frees it with the
    first of them: the other then writes into memory that is gone, and Triton dies. And left to the
    end of this process, they outlive the memory that it shares with Triton, and it ends with a
    segmentation fault. So Triton keeps them, a few hundred bytes, until it ends itself.
    """
    while _open:
        _open.pop().close()


def nonfinite_counter(model: str) -> Counter:
    """Return the counter of texts that were not answered because of NaN or infinity."""
    return Counter(
        "bgem3_nonfinite_texts_total", "Texts for which the model gave NaN or infinity", model
    )


def engine_gauge(description: EngineDescription, reason: str) -> Gauge:
    """Log which engine runs the trunk and why, and return the gauge that shows it."""
    pb_utils.Logger.log_info(f"{TRUNK.name} runs in {description}: {reason}")
    gauge = Gauge(
        "bgem3_trunk_engine_info",
        "What runs the CPU trunk: always 1, the engine is in the labels",
        TRUNK.name,
        {"engine": description.name, "version": description.version},
    )
    gauge.set(1)
    return gauge
