"""What runs the exported graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy.typing as npt

from bgem3_backend.contract import TRUNK
from bgem3_backend.packed_texts import Int32Array

EngineName = Literal["openvino-bf16", "openvino-int8", "openvino-fp32", "onnxruntime-fp32"]
"""A library and the precision of its matrix multiplications."""

Output = npt.NDArray[Any]

FASTEST_MICROBATCH_TOKENS: Final[Mapping[EngineName, int]] = {
    "openvino-bf16": 1024,
    "openvino-int8": 1024,
    "openvino-fp32": 1024,
    "onnxruntime-fp32": 512,
}
"""Tokens to compute at once, by measurement at BGE-M3's shape (``benchmarks/cpu_trunk.py``)."""

TRUNK_OUTPUTS: Final = tuple(tensor.name for tensor in TRUNK.outputs)
"""``dense`` and ``hidden_states``: what the graph without heads gives."""


@dataclass(frozen=True)
class EngineDescription:
    """What an engine is, for logs and metrics.

    Attributes:
        name: FP32 is exact: it differs from FlagEmbedding in FP32 by rounding alone.
        version: Of the library.
        threads: How many it computes with.
    """

    name: EngineName
    version: str
    threads: int

    def __str__(self) -> str:
        return f"{self.name} ({self.version}, {self.threads} threads)"


class TrunkEngine(Protocol):
    """One exported graph, loaded."""

    @property
    def description(self) -> EngineDescription:
        """What this engine is."""

    def run(
        self, input_ids: Int32Array, lengths: Int32Array, outputs: Sequence[str] = TRUNK_OUTPUTS
    ) -> tuple[Output, ...]:
        """Compute some texts at once.

        Args:
            input_ids: INT32 [T], the tokens of all texts, one text behind the other.
            lengths: INT32 [N], tokens of each text, each at least 1; T in sum.
            outputs: Names of the graph's outputs.

        Returns:
            Those outputs, in that order, of the shapes and types that the contract says; they
            belong to the caller.

        Raises:
            RuntimeError: The graph failed; out of memory, say.
        """
