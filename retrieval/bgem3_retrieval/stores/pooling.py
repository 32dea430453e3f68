"""Fewer ColBERT vectors a text: the means of similar ones."""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError

_Rows = TypeVar("_Rows", NDArray[np.float32], NDArray[np.float16])

# Clustering takes memory by the square of the rows. Longer texts are pooled a part at a time.
_WINDOW_ROWS: Final = 2048


def pool_tokens(rows: _Rows, factor: int) -> _Rows:
    """Replace a text's token vectors by the means of clusters of similar ones.

    Token pooling of Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval
    with Minimal Performance Impact via Token Pooling" (2024): hierarchical clustering by Ward's
    criterion. For vectors of length 1 the squared distance is 2 - 2 cos, so that it is
    clustering by the cosine. Passages are pooled, queries are not.

    Args:
        rows: [t, d], each of length 1.
        factor: So many vectors become one on average; 1 leaves them as they are.

    Returns:
        [ceil(t / factor), d] at most (fewer where vectors are equal), each of length 1, in the
        order of each cluster's first token, of the type of ``rows``.

    Raises:
        InvalidInputError: The factor is below 1, or the rows are no matrix.
    """
    if factor < 1:
        raise InvalidInputError(f"the pool factor is 1 or more, not {factor}")
    if rows.ndim != 2:
        raise InvalidInputError(f"token vectors are a matrix, not of shape {rows.shape}")
    if factor == 1 or len(rows) <= 1:
        return rows
    windows = [
        _pool_window(rows[begin : begin + _WINDOW_ROWS].astype(np.float32), factor)
        for begin in range(0, len(rows), _WINDOW_ROWS)
    ]
    return np.concatenate(windows).astype(rows.dtype)


def _pool_window(rows: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    clusters = _clusters(rows, -(-len(rows) // factor))
    sums = np.zeros((clusters.max() + 1, rows.shape[1]), dtype=np.float32)
    np.add.at(sums, clusters, rows)
    norms: NDArray[np.float32] = np.linalg.norm(sums, axis=1, keepdims=True)
    means: NDArray[np.float32] = sums / np.maximum(norms, np.float32(1e-12))
    return means


def _clusters(rows: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Return the number of each row's cluster; they are numbered as they first occur."""
    if len(rows) == 1:
        return np.zeros(1, dtype=np.intp)
    # Imported here: loading it takes longer than all else that a search needs.
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    squared = np.maximum(2.0 - 2.0 * (rows @ rows.T), 0.0)
    np.fill_diagonal(squared, 0.0)
    tree = linkage(squareform(np.sqrt(squared), checks=False), method="ward")
    labels = fcluster(tree, t=count, criterion="maxclust")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.intp)
    order[np.argsort(first)] = np.arange(len(first))
    return order[inverse]
