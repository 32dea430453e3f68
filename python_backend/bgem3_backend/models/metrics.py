"""The project's own metrics on Triton's metrics port."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils


class Counter:
    """A Prometheus counter of one model."""

    def __init__(self, name: str, description: str, model: str) -> None:
        # Held: Triton refuses a metric whose family is gone.
        self._family = pb_utils.MetricFamily(
            name=name, description=description, kind=pb_utils.MetricFamily.COUNTER
        )
        self._metric = self._family.Metric(labels={"model": model})

    def add(self, amount: int) -> None:
        """Add to the counter."""
        self._metric.increment(amount)


class Gauge:
    """A Prometheus gauge of one model."""

    def __init__(self, name: str, description: str, model: str) -> None:
        self._family = pb_utils.MetricFamily(
            name=name, description=description, kind=pb_utils.MetricFamily.GAUGE
        )
        self._metric = self._family.Metric(labels={"model": model})

    def set(self, value: float) -> None:
        """Set the gauge."""
        self._metric.set(value)


def not_finite_counter(model: str) -> Counter:
    """Return the counter of answers withheld because they held NaN or infinity."""
    return Counter(
        "bgem3_not_finite_total", "Requests for which the model gave NaN or infinity", model
    )
