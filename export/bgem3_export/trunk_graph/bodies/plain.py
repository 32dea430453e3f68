"""A linear layer, a sum and a layer norm as operators of their own, for engines that fuse them."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from bgem3_export.trunk_graph.bodies.body import Body


class PlainBody(Body, ABC):
    """The layers in standard operators; the engine decides what to fuse."""

    def _add_and_normalize(
        self, values: Sequence[str], sum_name: str, source: str, name: str
    ) -> str:
        summed = self._nodes("Add", *values, name=sum_name)
        return self._nodes(
            "LayerNormalization",
            summed,
            *self._norm_weights(source, name),
            axis=-1,
            epsilon=self._config.layer_norm_epsilon,
            name=name,
        )

    def _linear_add_and_normalize(
        self, value: str, residual: str, source: str, prefix: str, inputs: int
    ) -> str:
        size = self._config.hidden_size
        linear = self._linear(value, [f"{source}.dense"], f"{prefix}output", inputs, size)
        return self._add_and_normalize(
            [linear, residual], f"{prefix}sum", f"{source}.LayerNorm", f"{prefix}normalized"
        )
