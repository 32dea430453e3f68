"""The project's own metrics on Triton's metrics port."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from bgem3_backend.contract import TRUNK
from bgem3_backend.trunk.engine import EngineDescription


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

    def __init__(
        self, name: str, description: str, model: str, labels: dict[str, str] | None = None
    ) -> None:
        self._family = pb_utils.MetricFamily(
            name=name, description=description, kind=pb_utils.MetricFamily.GAUGE
        )
        self._metric = self._family.Metric(labels={"model": model, **(labels or {})})

    def set(self, value: float) -> None:
        """Set the gauge."""
        self._metric.set(value)


def not_finite_counter(model: str) -> Counter:
    """Return the counter of answers withheld because they held NaN or infinity."""
    return Counter(
        "bgem3_not_finite_total", "Requests for which the model gave NaN or infinity", model
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
