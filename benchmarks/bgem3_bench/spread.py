"""Medians, spreads and percentiles of few or many figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """What several rounds gave for one figure."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Summarise one figure or more.

        Raises:
            ValueError: There is none.
        """
        if not figures:
            raise ValueError("a spread needs one figure at least")
        return cls(statistics.median(figures), min(figures), max(figures))


@dataclass(frozen=True)
class Percentiles:
    """How long most, nearly all and all but one in a hundred took."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Percentiles:
        """Take them from the figures that are there, without interpolation.

        Raises:
            ValueError: There is none.
        """
        if not figures:
            raise ValueError("percentiles need one figure at least")
        # An observed figure: what nobody has waited is no latency.
        p50, p95, p99 = np.percentile(figures, (50, 95, 99), method="inverted_cdf")
        return cls(float(p50), float(p95), float(p99))
