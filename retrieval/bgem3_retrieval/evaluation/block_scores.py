"""Scores of a block of documents for all queries.

They are those of ``compute_score`` (FlagEmbedding's): the inner product of dense vectors, the sum
over common tokens of the products of their weights, and over the query's token vectors the mean of
each one's best match.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Parts
from bgem3_client.encode_request import Output
from bgem3_client.limits import Limits
from bgem3_client.sparse import SparseEmbeddings
from bgem3_client.splitting import split

COMPONENTS: Final[tuple[Output, ...]] = ("dense", "sparse", "colbert")
"""The columns of scores."""
Scores: TypeAlias = NDArray[np.float64]

# Of similarities between tokens: 64 MB.
_CELLS_AT_ONCE: Final = 2**24


def block_scores(queries: Parts, documents: Parts) -> Scores:
    """Return the scores [Q, b, 3] of a block of b documents for all queries."""
    columns: dict[Output, Scores] = {}
    if documents.dense is not None and queries.dense is not None:
        columns["dense"] = (queries.dense @ documents.dense.T).astype(np.float64)
    if documents.sparse is not None and queries.sparse is not None:
        columns["sparse"] = lexical_scores(queries.sparse, documents.sparse)
    if documents.colbert is not None and queries.colbert is not None:
        columns["colbert"] = colbert_scores(queries.colbert, documents.colbert)
    shape = next(iter(columns.values())).shape
    return np.stack([columns.get(name, np.full(shape, np.nan)) for name in COMPONENTS], axis=2)


def lexical_scores(queries: SparseEmbeddings, documents: SparseEmbeddings) -> Scores:
    """Return the lexical score of every query and document: float64 [Q, b]."""
    # As many columns as the largest token id needs.
    width = 1 + max(int(weights.indices.max(initial=0)) for weights in (queries, documents))
    scores: Scores = (_matrix(queries, width) @ _matrix(documents, width).T).toarray()
    return scores


def _matrix(weights: SparseEmbeddings, width: int) -> Any:  # noqa: ANN401 - scipy has no types
    return csr_array(
        (weights.values.astype(np.float64), weights.indices, weights.offsets),
        shape=(len(weights), width),
    )


def colbert_scores(queries: ColbertEmbeddings, documents: ColbertEmbeddings) -> Scores:
    """Return the ColBERT score of every query and document: float64 [Q, b]."""
    columns = documents.vectors.astype(np.float32, copy=False).T
    scores = np.empty((len(queries), len(documents)))
    # At least one query at a time, however long the documents are.
    lengths = np.diff(queries.offsets).tolist()
    at_once = Limits(
        max_texts_per_request=len(queries),
        max_tokens_per_request=max(1, _CELLS_AT_ONCE // max(1, columns.shape[1])),
    )
    for block in split(lengths, at_once):
        part = queries[block]
        best = np.maximum.reduceat(
            part.vectors.astype(np.float32, copy=False) @ columns, documents.offsets[:-1], axis=1
        )
        sums = np.add.reduceat(best.astype(np.float64), part.offsets[:-1], axis=0)
        scores[block] = sums / np.diff(part.offsets)[:, np.newaxis]
    return scores
