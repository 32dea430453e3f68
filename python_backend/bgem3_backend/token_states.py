"""The trunk's hidden states as an output of their own."""

from __future__ import annotations

import torch

from bgem3_backend.errors import NotFiniteError


def token_states(hidden_states: torch.Tensor) -> torch.Tensor:
    """Return the hidden states [T, H] in FP32, where they are.

    Raises:
        NotFiniteError: A number is NaN or infinite.
    """
    states = hidden_states.float()
    if not bool(torch.isfinite(states).all()):
        raise NotFiniteError("the trunk gave a hidden state that is not finite")
    return states
