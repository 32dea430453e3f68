"""The precision of a trunk: of its weights, its linear layers and its hidden states."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from onnx import TensorProto

Precision = Literal["fp32", "fp16"]

ONNX_TYPES: Final = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
NUMPY_TYPES: Final = {"fp32": np.float32, "fp16": np.float16}
