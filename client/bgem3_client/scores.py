"""How alike two texts are, as FlagEmbedding 1.4.2 defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_client.sparse import SparseEmbedding

# Long texts are compared some rows at a time: 8,192 x 8,192 token similarities are 256 MB.
_ROWS_AT_ONCE = 1024


def dense_score(query: NDArray[np.float32], passage: NDArray[np.float32]) -> float:
    """Return the dot product of two dense vectors [d]; for vectors of length 1 their cosine.

    Raises:
        InvalidInputError: Not two vectors of one size.
    """
    if query.ndim != 1 or query.shape != passage.shape:
        raise InvalidInputError(
            "dense_score takes two vectors of one size, not "
            f"{list(query.shape)} and {list(passage.shape)}; for matrices write query @ passage.T"
        )
    return float(np.dot(query, passage))


def lexical_score(query: SparseEmbedding, passage: SparseEmbedding) -> float:
    """Return the sum over shared token ids of the product of their weights.

    `M3Embedder.compute_lexical_matching_score` in FlagEmbedding.
    """
    _, at_query, at_passage = np.intersect1d(
        query.indices, passage.indices, assume_unique=True, return_indices=True
    )
    products = query.values[at_query].astype(np.float64) * passage.values[at_passage]
    return float(products.sum())


def colbert_score(query: NDArray[Any], passage: NDArray[Any]) -> float:
    """Return the mean over the query's vectors of the best match among the passage's.

    `M3Embedder.colbert_score` in FlagEmbedding: ``sum_i max_j q_i . p_j / n_q``. Not symmetric.

    Args:
        query: float32 or float16 [n_q, d].
        passage: float32 or float16 [n_p, d].

    Raises:
        InvalidInputError: Not two matrices of one width, or one without a row (a text that
            ``max_length=1`` cut to nothing but CLS).
    """
    if query.ndim != 2 or passage.ndim != 2 or query.shape[1:] != passage.shape[1:]:
        raise InvalidInputError(
            "colbert_score takes two matrices [tokens, d] of one width, not "
            f"{list(query.shape)} and {list(passage.shape)}"
        )
    if not len(query) or not len(passage):
        raise InvalidInputError("colbert_score needs one token vector of each text at least")
    columns = passage.astype(np.float32, copy=False).T
    best = [
        (query[start : start + _ROWS_AT_ONCE].astype(np.float32, copy=False) @ columns).max(axis=1)
        for start in range(0, len(query), _ROWS_AT_ONCE)
    ]
    return float(np.concatenate(best).sum() / len(query))
