"""The trunk's hidden states as an output of their own."""

from __future__ import annotations

import torch

from bgem3_backend.heads import check_finite


def token_states(hidden_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the hidden states [T, H] in FP32, where they are.

    Args:
        hidden_states: [T, H] in any precision, on any device.
        lengths: Integer [N], tokens of each text, adding up to T.

    Raises:
        NotFiniteError: A number is NaN or infinite, in which texts.
    """
    states = hidden_states.float()
    check_finite("a hidden state", states, lengths)
    return states
