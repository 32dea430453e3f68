"""The sizes of a trunk, and what they say about its work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrunkShape:
    """The sizes of an XLM-RoBERTa trunk, from its ``config.json``."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int

    @classmethod
    def read(cls, checkpoint: Path) -> TrunkShape:
        """Read the sizes of a checkpoint."""
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
        )

    @property
    def linear_shapes(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's matrices: query, key and value in one, and the others."""
        hidden, intermediate = self.hidden, self.intermediate
        return (
            (hidden, 3 * hidden),
            (hidden, hidden),
            (hidden, intermediate),
            (intermediate, hidden),
        )

    @property
    def linear_flop_per_token(self) -> int:
        """Multiplications and additions of the linear layers for one token; not of attention."""
        return self.layers * sum(2 * inputs * outputs for inputs, outputs in self.linear_shapes)

    def flop_per_token(self, length: int) -> int:
        """Multiplications and additions for one token of a text of ``length`` tokens."""
        return self.linear_flop_per_token + self.layers * 4 * length * self.hidden

    @property
    def weights_bytes(self) -> int:
        """Linear layers and embedding table in FP32."""
        matrices = self.layers * sum(inputs * outputs for inputs, outputs in self.linear_shapes)
        return 4 * (matrices + self.vocabulary * self.hidden)
