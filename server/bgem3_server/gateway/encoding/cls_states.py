"""Dense vectors before they are brought to length 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bgem3_client import Embeddings


def cls_states(embeddings: Embeddings) -> NDArray[np.float32]:
    """Return the hidden state of each text's first token (CLS): float32 [N, H], not normalised.

    Args:
        embeddings: Encoded with ``return_hidden_states``.
    """
    states = embeddings.hidden_states
    rows: NDArray[np.float32] = states.vectors[states.offsets[:-1]]
    return rows
