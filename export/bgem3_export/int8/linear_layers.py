"""The linear layers of a trunk: what they are called in the graph and in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bgem3_export.checkpoint import TrunkConfig


@dataclass(frozen=True)
class LinearLayer:
    """One matrix multiplication of the trunk.

    Attributes:
        name: Of its output in the graph.
        modules: Of transformers' model; several are one matrix, side by side.
        inputs: Width of what goes in.
        outputs: Width of what comes out.
    """

    name: str
    modules: tuple[str, ...]
    inputs: int
    outputs: int

    @property
    def multiplications(self) -> int:
        """How many a token takes."""
        return self.inputs * self.outputs


def linear_layers(config: TrunkConfig) -> Iterator[LinearLayer]:
    """Yield the linear layers in the order of the forward pass."""
    size, inner_size = config.hidden_size, config.intermediate_size
    for number in range(config.layers):
        graph, module = f"layer_{number}", f"encoder.layer.{number}"
        parts = tuple(f"{module}.attention.self.{part}" for part in ("query", "key", "value"))
        yield LinearLayer(f"{graph}_query_key_value", parts, size, 3 * size)
        yield LinearLayer(
            f"{graph}_attention_output", (f"{module}.attention.output.dense",), size, size
        )
        yield LinearLayer(
            f"{graph}_intermediate", (f"{module}.intermediate.dense",), size, inner_size
        )
        yield LinearLayer(f"{graph}_output", (f"{module}.output.dense",), inner_size, size)
