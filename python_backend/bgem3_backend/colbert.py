"""ColBERT: one L2-normalised vector for each token behind the first.

Semantics of FlagEmbedding 1.4.2 (``EncoderOnlyEmbedderM3Model._colbert_embedding``): a linear layer
over the hidden states, the cls row dropped and the eos row kept, so ``length - 1`` rows a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from bgem3_backend.heads import LinearHead, check_finite

# Of torch.nn.functional.normalize, which FlagEmbedding calls.
_SHORTEST: Final = 1e-12


@dataclass(frozen=True)
class ColbertOutput:
    """The token vectors of the texts of one request, concatenated.

    Attributes:
        vectors: FP32 [C, D], rows of length 1.
        lengths: INT32 [N], rows of each text, which may be 0.
    """

    vectors: torch.Tensor
    lengths: torch.Tensor


class ColbertHead:
    """From hidden states to token vectors."""

    def __init__(self, linear: LinearHead) -> None:
        """Prepare the head; ``linear`` is H to D."""
        self._linear = linear

    def __call__(self, hidden_states: torch.Tensor, lengths: torch.Tensor) -> ColbertOutput:
        """Compute the vectors of one request.

        Args:
            hidden_states: [T, H] on the head's device.
            lengths: Integer [N] on the same device, adding up to T.

        Raises:
            NotFiniteError: A vector is NaN or infinite, or its length is, in which texts.
        """
        kept = torch.ones(hidden_states.shape[0], dtype=torch.bool, device=hidden_states.device)
        kept[torch.cumsum(lengths, 0) - lengths] = False
        vectors = self._linear(hidden_states.index_select(0, kept.nonzero().squeeze(1)))
        # In place, and looked at by their norms: the vectors are as large as the hidden states,
        # and each pass over them costs a tenth of the linear layer.
        norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        check_finite("a token vector", norms, lengths - 1)
        vectors /= norms.clamp_min_(_SHORTEST)
        return ColbertOutput(vectors, (lengths - 1).int())
