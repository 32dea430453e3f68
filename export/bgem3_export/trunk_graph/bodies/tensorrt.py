"""The body for TensorRT: standard operators alone, attention padded so that TensorRT fuses it.

TensorRT plans an engine from the shapes of its inputs, so no shape may depend on a value: that the
longest text has 37 tokens must be the size of an input, not a number in one. Hence ``longest``, of
which only the size counts. Triton makes it for each batch, from the largest ``columns`` among the
requests (``BATCH_MAX_ELEMENT_COUNT_AS_SHAPE``); ``columns`` itself is read by nobody, but Triton
measures inputs of the model alone.

Running sums are loops in TensorRT, and for floating point alone, so the layout is made of
comparisons.
Softmax and layer norms are single operators, which TensorRT computes in FP32 inside.

https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/support-matrix.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from bgem3_backend.contract import COLUMNS, INPUT_IDS, LENGTHS, LONGEST
from bgem3_export.trunk_graph.bodies.plain import PlainBody
from bgem3_export.trunk_graph.files import TENSORRT_GRAPH_FILE

# Far below any score, and far from infinity, which FP16 reaches at 65,504.
_MASKED: float = -30_000.0


class TensorRTBody(PlainBody):
    """Linear layers on the real tokens, attention over [N, L]."""

    file = TENSORRT_GRAPH_FILE

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        return [
            *super()._inputs(),
            helper.make_tensor_value_info(COLUMNS.name, TensorProto.INT32, ["columns"]),
            helper.make_tensor_value_info(LONGEST.name, TensorProto.INT32, ["longest"]),
        ]

    def _layout(self) -> None:
        n = self._nodes
        for axis in (0, 1):
            self._constant(f"axis_{axis}", np.array([axis], np.int64))
        self._constant("axes_1_2", np.array([1, 2], np.int64))
        self._constant("scalar_0", np.array(0, np.int64))
        self._constant("scalar_1", np.array(1, np.int64))
        self._constant("zero", np.array(0, np.int32))
        self._constant("one", np.array(1, np.int32))
        row = self._counted(LENGTHS.name, "row")
        token = self._counted(INPUT_IDS.name, "token")
        column = self._counted(LONGEST.name, "column")

        # [N, N]: a text ends where the lengths of all texts up to it do.
        row_column = n("Unsqueeze", row, "axis_1", name="row_column")
        earlier = n("LessOrEqual", row, row_column, name="earlier")
        summed = n("Where", earlier, LENGTHS.name, "zero", name="earlier_lengths")
        ends = n("ReduceSum", summed, "axis_1", keepdims=0, name="ends")
        starts = n("Sub", ends, LENGTHS.name, name="starts")

        # [T, N]: a token is in the text whose number is that of the texts that end before it.
        token_column = n("Unsqueeze", token, "axis_1", name="token_column")
        before = n("LessOrEqual", ends, token_column, name="text_before")
        counted = n("Cast", before, to=TensorProto.INT32, name="texts_before")
        text_index = n("ReduceSum", counted, "axis_1", keepdims=0, name="text_index")
        text_start = n("Gather", starts, text_index, axis=0, name="text_start")
        position = n("Sub", token, text_start, name="position")

        # [N, L] of token indices; what lies behind a text's end repeats its last token, masked.
        last = n("Sub", LENGTHS.name, "one", name="last")
        last_column = n("Unsqueeze", last, "axis_1", name="last_column")
        offset = n("Min", column, last_column, name="offset")
        starts_column = n("Unsqueeze", starts, "axis_1", name="starts_column")
        n("Add", starts_column, offset, name="padded_index")
        longest = n("Squeeze", "column_count", "axis_0", name="longest_scalar")
        longest = n("Cast", longest, to=TensorProto.INT32, name="longest_32")
        row_start = n("Mul", text_index, longest, name="row_start")
        n("Add", row_start, position, name="packed_index")

        # [N, 1, 1, L], added to the scores.
        lengths_column = n("Unsqueeze", LENGTHS.name, "axis_1", name="lengths_column")
        is_token = n("Less", column, lengths_column, name="is_token")
        self._constant("seen", np.array(0, self._numpy_type))
        self._constant("masked", np.array(_MASKED, self._numpy_type))
        mask = n("Where", is_token, "seen", "masked", name="key_mask")
        n("Unsqueeze", mask, "axes_1_2", name="mask")

        heads, size = self._config.heads, self._config.hidden_size
        self._constant("thirds", np.array([size] * 3, np.int64))
        # 0 keeps a dimension as it is.
        self._constant("by_head", np.array([0, 0, heads, size // heads], np.int64))
        self._constant("flat", np.array([-1, size], np.int64))
        self._constant("scale", np.array(1 / math.sqrt(size // heads), self._numpy_type))
        self._constant("half", np.array(0.5, self._numpy_type))
        self._constant("whole", np.array(1, self._numpy_type))
        self._constant("root_of_half", np.array(math.sqrt(0.5), self._numpy_type))

    def _counted(self, value: str, name: str) -> str:
        """0, 1, … as many as a tensor has elements; INT32."""
        n = self._nodes
        n("Shape", value, name=f"{name}_count")
        n("Squeeze", f"{name}_count", "axis_0", name=f"{name}_limit")
        n("Range", "scalar_0", f"{name}_limit", "scalar_1", name=f"{name}_64")
        return n("Cast", f"{name}_64", to=TensorProto.INT32, name=name)

    def _position_ids(self) -> str:
        """Positions, less the padding written before a token in its own text.

        That padding is counted in steps of 1, 2, 4 … tokens, each of which adds what was counted
        that far before, as far as the text reaches.
        """
        n = self._nodes
        pad = self._config.pad_token_id
        self._constant("pad_id", np.array(pad, np.int32))
        self._constant("first_position", np.array(pad + 1, np.int32))
        is_pad = n("Equal", INPUT_IDS.name, "pad_id", name="is_pad")
        padding = n("Cast", is_pad, to=TensorProto.INT32, name="padding")
        for power in range((self._config.max_length_tokens - 1).bit_length()):
            step = self._constant(f"step_{power}", np.array(2**power, np.int32))
            source = n("Sub", "token", step, name=f"source_{power}")
            in_text = n("GreaterOrEqual", source, "text_start", name=f"in_text_{power}")
            source = n("Max", source, "zero", name=f"safe_source_{power}")
            earlier = n("Gather", padding, source, axis=0, name=f"padding_{power}_earlier")
            earlier = n("Where", in_text, earlier, "zero", name=f"padding_{power}_in_text")
            padding = n("Add", padding, earlier, name=f"padding_{power}")
        counted = n("Sub", "position", padding, name="real_before")
        counted = n("Add", counted, "first_position", name="counted")
        return n("Where", is_pad, "pad_id", counted, name="position_ids")

    def _attention(self, prefix: str, hidden: str, sources: Sequence[str]) -> str:
        n = self._nodes
        size = self._config.hidden_size
        packed = self._linear(hidden, sources, f"{prefix}query_key_value", size, size)
        padded = n("Gather", packed, "padded_index", axis=0, name=f"{prefix}padded")
        parts = n.add("Split", [padded, "thirds"], axis=2, outputs=3, name=f"{prefix}part")
        query, key, value = (
            n("Reshape", part, "by_head", name=f"{part}_by_head") for part in parts
        )
        # [N, heads, L, size of a head], and the keys the other way round. The queries are scaled
        # before the product, which FP16 might not hold otherwise.
        query = n("Transpose", query, perm=[0, 2, 1, 3], name=f"{prefix}query")
        key = n("Transpose", key, perm=[0, 2, 3, 1], name=f"{prefix}key")
        value = n("Transpose", value, perm=[0, 2, 1, 3], name=f"{prefix}value")
        query = n("Mul", query, "scale", name=f"{prefix}scaled_query")
        scores = n("MatMul", query, key, name=f"{prefix}scores")
        scores = n("Add", scores, "mask", name=f"{prefix}masked_scores")
        attention = n("Softmax", scores, axis=-1, name=f"{prefix}attention")
        context = n("MatMul", attention, value, name=f"{prefix}context_by_head")
        context = n("Transpose", context, perm=[0, 2, 1, 3], name=f"{prefix}context_by_token")
        context = n("Reshape", context, "flat", name=f"{prefix}padded_context")
        return n("Gather", context, "packed_index", axis=0, name=f"{prefix}context")

    def _linear_and_gelu(
        self, value: str, source: str, prefix: str, inputs: int, outputs: int
    ) -> str:
        n = self._nodes
        linear = self._linear(value, [source], f"{prefix}intermediate", inputs, outputs)
        # Opset 17 has no Gelu; TensorRT knows it by this pattern.
        error = n("Mul", linear, "root_of_half", name=f"{prefix}error_argument")
        error = n("Erf", error, name=f"{prefix}error")
        share = n("Add", error, "whole", name=f"{prefix}share")
        share = n("Mul", share, linear, name=f"{prefix}shared")
        return n("Mul", share, "half", name=f"{prefix}activated")
