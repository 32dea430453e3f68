"""The trunk as ONNX graphs over packed tokens: a body for each kind of engine, one set of weights.

The graphs are written node by node rather than traced from PyTorch: XLM-RoBERTa is small enough to
be read here in full, the weights go straight from the checkpoint to the data file that all graphs
share (one tensor in memory at a time), and the precision of every value is chosen, not inherited.

Contract of the bodies: ``input_ids`` INT32 [T] and ``lengths`` INT32 [N] in, ``dense`` FP32 [N, H]
and ``hidden_states`` FP32 or FP16 [T, H] out, where T is the sum of the lengths and every length is
at least 1. All linear layers run on the T real tokens. What differs is attention, and which
operators are fused:

* ``portable``  any engine: ONNX Runtime on CPUs and GPUs, OpenVINO
* ``cuda``      ONNX Runtime's CUDA provider: its operators for packed tokens, no padding at all
* ``tensorrt``  TensorRT: standard operators, padded inside attention; two more inputs say how far

The first two are there a second time with the heads behind them (``heads``), for the profiles that
leave nothing but the merging of sparse weights to Python.
"""

from bgem3_export.trunk_graph.files import (
    CUDA_GRAPH_FILE,
    CUDA_HEADS_GRAPH_FILE,
    DATA_FILE,
    GRAPH_FILE,
    HEADS_GRAPH_FILE,
    PLAN_FILE,
    TENSORRT_GRAPH_FILE,
)
from bgem3_export.trunk_graph.precision import Precision
from bgem3_export.trunk_graph.writing import graph_bytes, write_trunk_graph

__all__ = [
    "CUDA_GRAPH_FILE",
    "CUDA_HEADS_GRAPH_FILE",
    "DATA_FILE",
    "GRAPH_FILE",
    "HEADS_GRAPH_FILE",
    "PLAN_FILE",
    "TENSORRT_GRAPH_FILE",
    "Precision",
    "graph_bytes",
    "write_trunk_graph",
]
