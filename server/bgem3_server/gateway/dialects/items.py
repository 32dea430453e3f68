"""One text's sparse and ColBERT representations as JSON has them, the same in several dialects."""

from __future__ import annotations

from typing import Any

import numpy as np

from bgem3_client.colbert import TokenVectors
from bgem3_client.sparse import SparseEmbedding
from bgem3_server.gateway.serialization.vectors import Base64


def sparse_item(weights: SparseEmbedding) -> dict[str, Any]:
    """Return lexical weights by the tokens' text, and as arrays.

    Args:
        weights: Encoded with ``return_tokens``.
    """
    return {
        # NumPy's own numbers: JSON then has the digits of a float32, not of a float64.
        "lexical_weights": {text: np.float32(value) for text, value in weights.tokens().items()},
        "indices": weights.indices,
        "values": weights.values,
    }


def base64_matrix(vectors: TokenVectors) -> dict[str, Any]:
    """Return token vectors as base64, which does not say their shape, and the shape."""
    return {"data": Base64(vectors), "shape": list(vectors.shape)}
