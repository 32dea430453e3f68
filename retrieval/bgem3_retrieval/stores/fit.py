"""Whether vectors go into a collection, the same for every store."""

from __future__ import annotations

from collections.abc import Sequence

from bgem3_retrieval.errors import CollectionMismatchError
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.point import Point
from bgem3_retrieval.stores.query import QueryVectors


def check_points_fit(spec: CollectionSpec, points: Sequence[Point]) -> None:
    """Do nothing if every point has the collection's representations in their sizes.

    Raises:
        CollectionMismatchError: One has not.
    """
    for point in points:
        _check_size(spec, "dense", point.dense.shape, (spec.dense_size,))
        if spec.colbert == "none":
            if point.colbert is not None:
                raise CollectionMismatchError(
                    f"collection {spec.name} was made without ColBERT vectors, and "
                    f"{point.stored.chunk.source} brings some"
                )
            continue
        if point.colbert is None or len(point.colbert) == 0:
            raise CollectionMismatchError(
                f"collection {spec.name} keeps ColBERT vectors, and {point.stored.chunk.source} "
                "brings none"
            )
        _check_size(spec, "colbert", point.colbert.shape[1:], (spec.colbert_size,))


def check_query_fits(spec: CollectionSpec, query: QueryVectors) -> None:
    """Do nothing if a query's vectors have the collection's sizes.

    Raises:
        CollectionMismatchError: They are of another model.
    """
    if query.dense is not None:
        _check_size(spec, "dense", query.dense.shape, (spec.dense_size,))
    if query.colbert is not None and spec.colbert != "none":
        _check_size(spec, "colbert", query.colbert.shape[1:], (spec.colbert_size,))


def _check_size(
    spec: CollectionSpec, name: str, found: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    if found != expected:
        raise CollectionMismatchError(
            f"collection {spec.name} was made for {spec.model} with {name} vectors of "
            f"{expected[0]} numbers; these have shape {list(found)}"
        )
