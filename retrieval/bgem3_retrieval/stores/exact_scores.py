"""Scores of a chunk whose vectors are at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgem3_client.scores import colbert_score, dense_score, lexical_score
from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.stores.query import QueryVectors, Representation


def exact_scores(
    query: QueryVectors,
    *,
    dense: NDArray[np.float32] | None = None,
    sparse: SparseEmbedding | None = None,
    colbert: NDArray[Any] | None = None,
) -> dict[Representation, float]:
    """Return the scores by each representation that both the query and the chunk have.

    Args:
        query: What is looked for.
        dense: The chunk's, float32 [d].
        sparse: Its lexical weights.
        colbert: Its token vectors, float32 or float16 [t, d].
    """
    scores: dict[Representation, float] = {}
    if query.dense is not None and dense is not None:
        scores["dense"] = dense_score(query.dense, dense)
    if query.sparse is not None and sparse is not None:
        scores["sparse"] = lexical_score(query.sparse, sparse)
    if query.colbert is not None and colbert is not None:
        scores["colbert"] = colbert_score(query.colbert, colbert)
    return scores
