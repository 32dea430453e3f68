"""The bodies that end in the heads: from tokens to all representations in one graph.

What the heads compute is what ``bgem3_backend.sparse`` and ``bgem3_backend.colbert`` do in Python,
in FP32 whatever the trunk's precision. Left to others is what a graph is bad at: the largest weight
of each token id.
"""

from __future__ import annotations

from abc import ABC

import numpy as np
import onnx
from onnx import TensorProto, helper

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    COLBERT_LENGTHS,
    COLBERT_ROWS,
    DENSE,
    LENGTHS,
    TOKEN_STATES,
    TOKEN_WEIGHTS,
)
from bgem3_export.checkpoint import LinearHead
from bgem3_export.trunk_graph.bodies.cuda import CudaBody
from bgem3_export.trunk_graph.bodies.cumulative import CumulativeBody
from bgem3_export.trunk_graph.bodies.portable import PortableBody
from bgem3_export.trunk_graph.files import CUDA_HEADS_GRAPH_FILE, HEADS_GRAPH_FILE


class HeadsBody(CumulativeBody, ABC):
    """Behind the last layer come the heads."""

    def _outputs(self, hidden: str) -> list[onnx.ValueInfoProto]:
        """All that ``TRUNK_WITH_HEADS`` gives, in its order."""
        self._dense(hidden)
        states = self._nodes("Cast", hidden, to=TensorProto.FLOAT, name=TOKEN_STATES.name)
        self._token_weights(states)
        self._colbert(states)

        size, colbert_size = self._config.hidden_size, self._colbert_head.weight.shape[0]
        made = helper.make_tensor_value_info
        return [
            made(DENSE.name, TensorProto.FLOAT, ["texts", size]),
            made(TOKEN_WEIGHTS.name, TensorProto.FLOAT, ["tokens"]),
            made(COLBERT.name, TensorProto.FLOAT, ["rows", colbert_size]),
            made(COLBERT_FP16.name, TensorProto.FLOAT16, ["rows", colbert_size]),
            made(COLBERT_LENGTHS.name, TensorProto.INT32, ["texts"]),
            made(TOKEN_STATES.name, TensorProto.FLOAT, ["tokens", size]),
        ]

    @property
    def _colbert_head(self) -> LinearHead:
        return self._checkpoint.colbert_head

    def _token_weights(self, states: str) -> None:
        """One number for each token, before relu: [T, H] to [T]."""
        weights = self._head(states, self._checkpoint.sparse_head, "sparse_head")
        self._nodes("Squeeze", weights, "axis_1", name=TOKEN_WEIGHTS.name)

    def _colbert(self, states: str) -> None:
        """The vectors of all tokens but the first of each text, L2-normalised: [T, H] to [C, D]."""
        n = self._nodes
        rows = n("Gather", states, self._kept(), axis=0, name="kept_states")
        vectors = self._head(rows, self._colbert_head, "colbert_head")
        vectors = self._normalized(vectors, "colbert_", COLBERT.name)
        n("Cast", vectors, to=TensorProto.FLOAT16, name=COLBERT_FP16.name)
        cls = self._constant("cls_count", np.array(1, np.int32))
        n("Sub", LENGTHS.name, cls, name=COLBERT_LENGTHS.name)

    def _kept(self) -> str:
        """The indices of those tokens, [C].

        All tokens in another order, those behind the first of their text before those that are the
        first, and cut: how many are kept follows from shapes, so nobody waits for a value.
        """
        n = self._nodes
        self._constant("last_text", np.array(-1, np.int64))
        n("Gather", "ends", "last_text", axis=0, name="end")
        n("Add", "text_index", "scalar_1", name="texts_so_far")
        n("Sub", "token_index", "texts_so_far", name="kept_place")
        n("Sub", "end", "texts_so_far", name="first_place")
        n("Less", "position", "scalar_1", name="is_first")
        n("Where", "is_first", "first_place", "kept_place", name="place_in_order")
        n(
            "ScatterElements",
            "token_index",
            "place_in_order",
            "token_index",
            axis=0,
            name="kept_first",
        )
        n("Sub", "token_count", "text_count", name="kept_count")
        return n("Slice", "kept_first", "axis_0", "kept_count", "axis_0", name="kept")

    def _head(self, states: str, head: LinearHead, name: str) -> str:
        """``states @ W + b`` in FP32."""
        for part, read in (("weight", lambda: head.weight.T), ("bias", lambda: head.bias)):
            stored = self._weights.stored(f"{name}_{part}", read, "fp32")
            self._initializers[stored.name] = stored
        product = self._nodes("MatMul", states, f"{name}_weight", name=f"{name}_product")
        return self._nodes("Add", product, f"{name}_bias", name=name)


class PortableHeadsBody(HeadsBody, PortableBody):
    """For any engine."""

    file = HEADS_GRAPH_FILE


class CudaHeadsBody(HeadsBody, CudaBody):
    """For ONNX Runtime's CUDA provider in Triton's own backend."""

    file = CUDA_HEADS_GRAPH_FILE

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        """One more, which nobody reads: Triton measures by it which rows are whose."""
        return [
            *super()._inputs(),
            helper.make_tensor_value_info(COLBERT_ROWS.name, TensorProto.INT32, ["rows"]),
        ]
