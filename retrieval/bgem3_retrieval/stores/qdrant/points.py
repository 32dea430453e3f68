"""Points as Qdrant's client takes them, and what it brings back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from bgem3_client.sparse import SparseEmbedding
from bgem3_retrieval.stores.nearest import Nearest
from bgem3_retrieval.stores.payload import from_payload, to_payload
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.qdrant.vectors import COLBERT, DENSE, SPARSE


def to_struct(point: Point, numbers: Callable[[NDArray[Any]], Any]) -> models.PointStruct:
    """Return a point as it is put.

    Args:
        point: The chunk and its vectors.
        numbers: Makes of an array what the client is to be given.
    """
    vectors: dict[str, Any] = {DENSE: numbers(point.dense), SPARSE: to_sparse(point.sparse)}
    if point.colbert is not None:
        vectors[COLBERT] = numbers(point.colbert)
    # Not validated: it would look at every number of what is ours, and make lists of arrays.
    return models.PointStruct.model_construct(
        id=str(point.stored.id), vector=vectors, payload=to_payload(point.stored)
    )


def to_nearest(found: Sequence[models.ScoredPoint]) -> list[Nearest]:
    """Return what a search by one representation has found."""
    return [Nearest(UUID(str(one.id)), from_payload(one.payload or {}), one.score) for one in found]


def to_sparse(embedding: SparseEmbedding) -> models.SparseVector:
    """Return lexical weights as Qdrant takes them."""
    return models.SparseVector(indices=embedding.indices.tolist(), values=embedding.values.tolist())


def from_sparse(vector: models.SparseVector) -> SparseEmbedding:
    """Return the lexical weights that :func:`to_sparse` was given, in any order."""
    return SparseEmbedding(
        np.array(vector.indices, dtype=np.int32), np.array(vector.values, dtype=np.float32)
    )
