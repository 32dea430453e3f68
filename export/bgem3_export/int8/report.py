"""What the gate found about an INT8 trunk."""

from __future__ import annotations

import math
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bgem3_export.errors import QuantizationError


class QuantizationLimits(BaseModel):
    """What an INT8 trunk has to hold."""

    model_config = ConfigDict(frozen=True)

    dense_cosine: float = 0.999
    sparse_difference: float = 0.01
    int8_share: float = 0.5


LIMITS: Final = QuantizationLimits()


class QuantizationReport(BaseModel):
    """An INT8 trunk compared with the checkpoint in FP32."""

    model_config = ConfigDict(frozen=True)

    engine: str = Field(description="What computed it")
    texts: int
    tokens: int
    int8_share: float = Field(description="Of the multiplications of the linear layers")
    fp32_layers: tuple[str, ...] = Field(description="The linear layers that stay in FP32")
    dense_cosine: float = Field(description="The smallest")
    sparse_difference: float = Field(
        description="The largest between two weights, in units of the largest weight"
    )
    colbert_cosine: float = Field(description="The smallest; no limit, it says how tokens fare")
    limits: QuantizationLimits = LIMITS

    @property
    def is_accurate(self) -> bool:
        """Whether it differs from FP32 by no more than is allowed; NaN never does."""
        return (
            self.dense_cosine >= self.limits.dense_cosine
            and self.sparse_difference <= self.limits.sparse_difference
        )

    @property
    def excess(self) -> float:
        """The error by the largest that is allowed, of the output that is worse; 1 is the limit.

        The angle between two vectors grows with the root of what their cosine lacks.
        """
        dense = math.sqrt(max(0.0, 1 - self.dense_cosine) / (1 - self.limits.dense_cosine))
        return max(dense, self.sparse_difference / self.limits.sparse_difference)

    def check(self) -> None:
        """Raise when the trunk must not be served.

        Raises:
            QuantizationError: With the figures.
        """
        if not self.is_accurate:
            raise QuantizationError(
                f"with {self.int8_share:.0%} of the linear layers' multiplications in INT8 the "
                f"smallest cosine of dense vectors is {self.dense_cosine:.5f} (at least "
                f"{self.limits.dense_cosine}) and sparse weights differ by "
                f"{self.sparse_difference:.2%} of the largest (at most "
                f"{self.limits.sparse_difference:.0%}); not enough can be INT8 to be worth it. "
                "This checkpoint is not fit for INT8: export without --int8"
            )
