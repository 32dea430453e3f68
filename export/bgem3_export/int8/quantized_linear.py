"""A linear layer whose multiplications are INT8, all but a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from bgem3_export.int8.calibration import InputStatistics
from bgem3_export.reference import FloatArray

# How much of an outlier goes from the activations into the weights. SmoothQuant's authors take
# 0.5 for models that are scaled by tensors; weights suffer less here, where activations are scaled
# by tokens and the worst columns are kept.
_SMOOTHING: Final = 0.3
# An input or a row of weights that is next to nothing in calibration may be more in other texts.
_SMALLEST_SHARE_OF_MEDIAN: Final = 0.1

# FP32 costs several times as much, so these have to stay few.
_KEPT_SHARE: Final = 1 / 32
_FEWEST_KEPT: Final = 32
_LARGEST_KEPT_SHARE: Final = 1 / 8

WEIGHT_STEPS: Final = 127
"""INT8 weights are symmetric, -127 to 127."""
ACTIVATION_STEPS: Final = 255
"""Activations go from the token's smallest to its largest in 256 values."""

SMALLEST_RANGE: Final = float(np.finfo(np.float32).tiny)
"""A token whose activations are all equal must not be divided by 0."""


@dataclass(frozen=True)
class QuantizedLinear:
    """``y = x @ W + b`` for rows x of K inputs, with N outputs.

    With ``s = x * smoothing``, the row's smallest value ``low`` and its ``range``::

        q = round((s - low) / range * 255)                          unsigned 8-bit
        y = (q @ weight) * scale / 255 * range                      exact up to the last factors
            + [x[kept], low] @ [kept_weight; weight_sums] + bias    FP32

    Attributes:
        smoothing: FP32 [K]: a factor for each input, 0 for those that are kept.
        weight: INT8 [K, N].
        scale: FP32 [N]: of each output's weights.
        kept: INT64 [k]: the inputs that are multiplied in FP32.
        kept_weight: FP32 [k, N].
        bias: FP32 [N].
    """

    smoothing: FloatArray
    weight: npt.NDArray[np.int8]
    scale: FloatArray
    kept: npt.NDArray[np.int64]
    kept_weight: FloatArray
    bias: FloatArray

    @property
    def weight_sums(self) -> FloatArray:
        """What an input of 1 everywhere would give, [N]: takes ``low`` through the layer."""
        sums = self.weight.sum(axis=0, dtype=np.int64) * self.scale.astype(np.float64)
        return np.asarray(sums, np.float32)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Compute what the INT8 graph computes, in FP32: [..., K] to [..., N]."""
        smoothed = rows * torch.from_numpy(self.smoothing)
        low, high = torch.aminmax(smoothed, dim=-1, keepdim=True)
        span = (high - low).clamp(min=SMALLEST_RANGE)
        rounded = torch.round((smoothed - low) / span * ACTIVATION_STEPS)
        product = rounded @ torch.from_numpy(self.weight.astype(np.float32))
        kept = rows[..., torch.from_numpy(self.kept)] @ torch.from_numpy(self.kept_weight)
        product = product * torch.from_numpy(self.scale / ACTIVATION_STEPS) * span
        rest: torch.Tensor = low * torch.from_numpy(self.weight_sums) + torch.from_numpy(self.bias)
        return product + kept + rest


def quantize_linear(
    weight: FloatArray, bias: FloatArray, inputs: InputStatistics
) -> QuantizedLinear:
    """Round a linear layer to INT8.

    Args:
        weight: FP32 [K, N].
        bias: FP32 [N].
        inputs: What goes into it.

    Sources: SmoothQuant (Xiao et al., 2022), LLM.int8 (Dettmers et al., 2022), and bias correction
    as in Nagel et al., 2019.
    """
    weight_range = np.abs(weight).max(axis=1)
    divisor = _raised(inputs.largest) ** _SMOOTHING / _raised(weight_range) ** (1 - _SMOOTHING)
    inputs_count = weight.shape[0]
    kept_count = max(_FEWEST_KEPT, int(inputs_count * _KEPT_SHARE))
    kept_count = min(kept_count, int(inputs_count * _LARGEST_KEPT_SHARE))
    kept = np.sort(np.argsort(inputs.largest / divisor)[-kept_count:])

    smoothed = weight * divisor[:, None]
    smoothed[kept] = 0
    scale = np.abs(smoothed).max(axis=0) / WEIGHT_STEPS
    scale[scale == 0] = 1  # an output without weights
    rounded = np.rint(smoothed / scale)
    # What rounding does to an average token is known, and need not be done to any.
    shift = (inputs.mean / divisor) @ (smoothed - rounded * scale)

    smoothing = 1 / divisor
    smoothing[kept] = 0
    return QuantizedLinear(
        smoothing=smoothing.astype(np.float32),
        weight=rounded.astype(np.int8),
        scale=scale.astype(np.float32),
        kept=kept.astype(np.int64),
        kept_weight=np.ascontiguousarray(weight[kept]),
        bias=(bias + shift).astype(np.float32),
    )


def _raised(values: FloatArray) -> FloatArray:
    """Return the values with the smallest lifted, so that none is far below the median."""
    floor = _SMALLEST_SHARE_OF_MEDIAN * float(np.median(values))
    raised = np.maximum(values, floor)
    return np.where(raised == 0, np.float32(1), raised)
