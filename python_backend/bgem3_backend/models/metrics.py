"""The project's own metrics on Triton's metrics port."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils


class Counter:
    """A Prometheus counter of one model."""

    def __init__(self, name: str, description: str, model: str) -> None:
        self._metric = _metric(name, description, model, pb_utils.MetricFamily.COUNTER)

    def add(self, amount: int) -> None:
        """Add to the counter."""
        self._metric.increment(amount)


class Gauge:
    """A Prometheus gauge of one model."""

    def __init__(self, name: str, description: str, model: str) -> None:
        self._metric = _metric(name, description, model, pb_utils.MetricFamily.GAUGE)

    def set(self, value: float) -> None:
        """Set the gauge."""
        self._metric.set(value)


def not_finite_counter(model: str) -> Counter:
    """Return the counter of answers withheld because they held NaN or infinity."""
    return Counter(
        "bgem3_not_finite_total", "Requests for which the model gave NaN or infinity", model
    )


def _metric(name: str, description: str, model: str, kind: Any) -> Any:
    family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
    return family.Metric(labels={"model": model})
