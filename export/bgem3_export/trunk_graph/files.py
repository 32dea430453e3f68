"""What the files of a trunk are called, in a version's folder."""

from __future__ import annotations

from typing import Final

GRAPH_FILE: Final = "model.onnx"
CUDA_GRAPH_FILE: Final = "model.cuda.onnx"
TENSORRT_GRAPH_FILE: Final = "model.tensorrt.onnx"

HEADS_GRAPH_FILE: Final = "model.heads.onnx"
"""As ``model.onnx``, with the sparse and the ColBERT head inside."""
CUDA_HEADS_GRAPH_FILE: Final = "model.cuda.heads.onnx"
"""As ``model.cuda.onnx``, with the sparse and the ColBERT head inside."""

PLAN_FILE: Final = "model.plan"
"""TensorRT's engine for one kind of GPU, where one was built."""

DATA_FILE: Final = "model.onnx.data"
"""The weights of all graphs."""
