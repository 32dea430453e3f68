"""The body that every engine reads: ONNX Runtime on CPUs and GPUs, OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from bgem3_backend.contract import LENGTHS
from bgem3_export.trunk_graph.bodies.cumulative import CumulativeBody
from bgem3_export.trunk_graph.bodies.plain import PlainBody
from bgem3_export.trunk_graph.files import GRAPH_FILE
from bgem3_export.trunk_graph.nodes import MICROSOFT_DOMAIN, Nodes


class PortableBody(PlainBody, CumulativeBody):
    """Attention sees padding where there are several texts, and none where there is one."""

    file = GRAPH_FILE

    def _layout(self) -> None:
        super()._layout()
        n = self._nodes
        self._constant("flat", np.array([-1, self._config.hidden_size], np.int64))
        self._constant("thirds", np.array([self._config.hidden_size] * 3, np.int64))

        # [N, L] of token indices; what lies behind a text's end repeats its last token, masked.
        n("Sub", "lengths_64", "one", name="last")
        n("Unsqueeze", "last", "axis_1", name="last_column")
        n("Min", "columns", "last_column", name="offset")
        n("Add", "starts_column", "offset", name="padded_index")
        n("Mul", "text_index", "longest", name="row_start")
        n("Add", "row_start", "position", name="packed_index")

        n("Shape", LENGTHS.name, name="text_count")
        n("Equal", "text_count", "one", name="single_as_vector")
        n("Squeeze", "single_as_vector", "axis_0", name="single_text")

    def _attention(self, prefix: str, hidden: str, sources: Sequence[str]) -> str:
        n = self._nodes
        size = self._config.hidden_size
        packed = self._linear(hidden, sources, f"{prefix}query_key_value", size, size)
        parts = n.add("Split", [packed, "thirds"], axis=1, outputs=3, name=f"{prefix}part")
        return n(
            "If",
            "single_text",
            then_branch=self._attention_of_one(prefix, parts),
            else_branch=self._attention_of_many(prefix, parts),
            name=f"{prefix}context",
        )

    def _attention_of_one(self, prefix: str, parts: Sequence[str]) -> onnx.GraphProto:
        """Attention when the batch is one text: no padding, no mask, and memory linear in L."""
        n = Nodes(f"{prefix}one_")
        rows = [n("Unsqueeze", part, "axis_0") for part in parts]
        attended = self._multi_head_attention(n, rows)
        return self._branch(n, n("Squeeze", attended, "axis_0"), f"{prefix}one")

    def _attention_of_many(self, prefix: str, parts: Sequence[str]) -> onnx.GraphProto:
        """Attention over [N, L], gathered from the packed tokens and brought back."""
        n = Nodes(f"{prefix}many_")
        rows = [n("Gather", part, "padded_index", axis=0) for part in parts]
        attended = self._multi_head_attention(n, [*rows, "", LENGTHS.name])
        attended = n("Reshape", attended, "flat")
        return self._branch(n, n("Gather", attended, "packed_index", axis=0), f"{prefix}many")

    def _multi_head_attention(self, nodes: Nodes, inputs: Sequence[str]) -> str:
        return nodes.add(
            "MultiHeadAttention",
            inputs,
            domain=MICROSOFT_DOMAIN,
            num_heads=self._config.heads,
        )[0]

    def _branch(self, nodes: Nodes, output: str, name: str) -> onnx.GraphProto:
        size = self._config.hidden_size
        value = helper.make_tensor_value_info(output, self._type, ["tokens", size])
        return helper.make_graph(nodes.nodes, name, [], [value])

    def _linear_and_gelu(
        self, value: str, source: str, prefix: str, inputs: int, outputs: int
    ) -> str:
        linear = self._linear(value, [source], f"{prefix}intermediate", inputs, outputs)
        return self._nodes("Gelu", linear, domain=MICROSOFT_DOMAIN, name=f"{prefix}activated")
