"""The body for ONNX Runtime's CUDA provider: its own operators for packed tokens.

``PackedMultiHeadAttention`` computes texts of unlike lengths side by side. What it takes of memory
beside its result is linear in the tokens on two conditions (read from its source,
``packed_multihead_attention.cc``; not measured on a GPU):

- Queries, keys and values come apart, and their bias is added before. It would take them in one
  tensor and add the bias, but it then brings them into another order first, in a workspace as large
  as if all texts were as long as the longest.
- It is told to choose among flash attention (FP16, from Ampere on) and memory-efficient attention:
  ``sdpa_kernel`` 3 in ``config.pbtxt``. Left to itself it takes TensorRT's fused kernels on Volta
  and Turing, which want the three in one tensor and so have that workspace again; and none of them
  in FP32 below 256 tokens, where it pads all, the scores too.

What flash attention keeps padded is one number in FP32 for each token and head.

The two other biases of a layer are added by ``BiasGelu`` and ``SkipLayerNormalization``.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto

from bgem3_backend.contract import LENGTHS
from bgem3_export.trunk_graph.bodies.cumulative import CumulativeBody
from bgem3_export.trunk_graph.files import CUDA_GRAPH_FILE
from bgem3_export.trunk_graph.nodes import MICROSOFT_DOMAIN


class CudaBody(CumulativeBody):
    """Linear layers and attention on the real tokens; four fused operators a layer, no cast."""

    file = CUDA_GRAPH_FILE

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        """Of sizes without names.

        Where ONNX Runtime knows that two layers have tensors of the same size, it keeps the first
        for the second: the wide ones of a feed-forward layer would be there during the attention of
        the next, and take the memory of a batch from 18 to 33 KB a token at BGE-M3's shape in FP16.
        """
        inputs = super()._inputs()
        for value in inputs:
            for dimension in value.type.tensor_type.shape.dim:
                dimension.ClearField("dim_param")
        return inputs

    def _layout(self) -> None:
        """What ``PackedMultiHeadAttention`` wants to know, once for all layers.

        ``cumulative_lengths`` INT32 [N + 1], and ``token_offset`` INT32 [N, L]: where in the padded
        form each packed token is, and behind all tokens, where the padding is. Flash and
        memory-efficient attention read its shape alone; the contents count where a GPU has neither.
        """
        super()._layout()
        n = self._nodes
        self._constant("first", np.array([0], np.int64))
        n("Concat", "first", "ends", axis=0, name="boundaries")
        n("Cast", "boundaries", to=TensorProto.INT32, name="cumulative_lengths")

        # [N, L], the cells of the padded form, counted row by row.
        n("Shape", LENGTHS.name, name="text_count")
        n("Squeeze", "text_count", "axis_0", name="text_count_scalar")
        n("Range", "scalar_0", "text_count_scalar", "scalar_1", name="rows")
        n("Mul", "rows", "longest", name="row_starts")
        n("Unsqueeze", "row_starts", "axis_1", name="row_starts_column")
        n("Add", "row_starts_column", "columns", name="cells")

        # Where each cell comes in the packed order. A real one: its text's start and its column.
        # Padding: behind all tokens, in the order of the cells; `ends` counts the real cells
        # before the padding of a row.
        n("Unsqueeze", "lengths_64", "axis_1", name="lengths_column")
        n("Less", "columns", "lengths_column", name="is_token")
        n("Add", "starts_column", "columns", name="token_place")
        self._constant("last", np.array(-1, np.int64))
        n("Gather", "ends", "last", axis=0, name="all_tokens")
        n("Unsqueeze", "ends", "axis_1", name="ends_column")
        n("Sub", "cells", "ends_column", name="padding_before")
        n("Add", "padding_before", "all_tokens", name="padding_place")
        n("Where", "is_token", "token_place", "padding_place", name="place")

        # The inverse of that order. Every element is overwritten, so it does not matter with what
        # it begins.
        self._constant("flat", np.array([-1], np.int64))
        n("Reshape", "place", "flat", name="flat_place")
        n("Reshape", "cells", "flat", name="flat_cells")
        n("ScatterElements", "flat_cells", "flat_place", "flat_cells", axis=0, name="flat_offset")
        n("Shape", "cells", name="cells_shape")
        n("Reshape", "flat_offset", "cells_shape", name="offset")
        n("Cast", "offset", to=TensorProto.INT32, name="token_offset")

        self._constant("thirds", np.array([self._config.hidden_size] * 3, np.int64))

    def _attention(self, prefix: str, hidden: str, sources: Sequence[str]) -> str:
        n = self._nodes
        size = self._config.hidden_size
        packed = self._linear(hidden, sources, f"{prefix}query_key_value", size, size)
        parts = n.add("Split", [packed, "thirds"], axis=1, outputs=3, name=f"{prefix}part")
        return n(
            "PackedMultiHeadAttention",
            *parts,
            "",
            "token_offset",
            "cumulative_lengths",
            domain=MICROSOFT_DOMAIN,
            num_heads=self._config.heads,
            name=f"{prefix}context",
        )

    def _linear_add_and_normalize(
        self, value: str, residual: str, source: str, prefix: str, inputs: int
    ) -> str:
        size = self._config.hidden_size
        name = f"{prefix}output"
        weight, bias = self._linear_weights([f"{source}.dense"], name, inputs, size)
        product = self._nodes("MatMul", value, weight, name=f"{name}_product")
        return self._skip_layer_normalization(
            [product, residual], f"{source}.LayerNorm", f"{prefix}normalized", bias
        )

    def _linear_and_gelu(
        self, value: str, source: str, prefix: str, inputs: int, outputs: int
    ) -> str:
        name = f"{prefix}intermediate"
        weight, bias = self._linear_weights([source], name, inputs, outputs)
        product = self._nodes("MatMul", value, weight, name=f"{name}_product")
        return self._nodes(
            "BiasGelu", product, bias, domain=MICROSOFT_DOMAIN, name=f"{prefix}activated"
        )

    def _add_and_normalize(
        self, values: Sequence[str], sum_name: str, source: str, name: str
    ) -> str:
        return self._skip_layer_normalization(values, source, name)

    def _skip_layer_normalization(
        self, values: Sequence[str], source: str, name: str, *bias: str
    ) -> str:
        return self._nodes(
            "SkipLayerNormalization",
            *values,
            *self._norm_weights(source, name),
            *bias,
            domain=MICROSOFT_DOMAIN,
            epsilon=self._config.layer_norm_epsilon,
            name=name,
        )
