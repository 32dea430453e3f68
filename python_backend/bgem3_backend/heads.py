"""The linear heads on top of the hidden states, on the device where those are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file

from bgem3_backend.errors import NotFiniteError
from bgem3_backend.packed_texts import texts_with

# Below this a CPU multiplies rows slower than columns: 12 rows of 1,024 take twice the time.
_FEW_ROWS: Final = 32


@dataclass(frozen=True)
class LinearHead:
    """One linear layer in FP32: weight [out, H] and bias [out]."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def load(cls, file: Path, device: torch.device) -> LinearHead:
        """Read the head that the export wrote.

        Raises:
            OSError: The file cannot be read.
            KeyError: The file holds no linear layer.
        """
        tensors = load_file(str(file), device=str(device))
        return cls(tensors["weight"].float(), tensors["bias"].float())

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return self.weight.device

    @property
    def hidden_size(self) -> int:
        """The width of the hidden states it takes."""
        return int(self.weight.shape[1])

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Apply the layer in FP32, whatever the precision of the hidden states: [T, out]."""
        states = hidden_states.float()
        if states.shape[0] < _FEW_ROWS and not states.is_cuda:
            return torch.addmm(self.bias[:, None], self.weight, states.t()).t()
        return torch.nn.functional.linear(states, self.weight, self.bias)


def check_finite(what: str, rows: torch.Tensor, counts: torch.Tensor) -> None:
    """Withhold what holds NaN or infinity.

    Args:
        what: What a row is, for the message.
        rows: [R] or [R, n], on any device.
        counts: Integer [N], rows of each text, adding up to R.

    Raises:
        NotFiniteError: A number is NaN or infinite, in which texts.
    """
    finite = torch.isfinite(rows)
    if not bool(finite.all()):
        bad = ~finite.reshape(rows.shape[0], -1).all(dim=1)
        raise NotFiniteError(what, texts_with(bad.cpu().numpy(), counts.cpu().numpy()))
