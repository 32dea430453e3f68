"""The collection that documents go into: made for the served model, or held against it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import ValidationError

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.chunks.options import ChunkOptions
from bgem3_retrieval.errors import (
    CollectionNotFoundError,
    ModelMismatchError,
    OptionsMismatchError,
)
from bgem3_retrieval.stores.collection import (
    ColbertChoice,
    CollectionSpec,
    Storage,
    checked_name,
)
from bgem3_retrieval.stores.query import QueryVectors

if TYPE_CHECKING:
    from bgem3_client.model_info import ModelInfo
    from bgem3_retrieval.index.client import IndexClient
    from bgem3_retrieval.stores.store import Store

# The same text by the same model gives 1, less what BF16, an INT8 trunk and INT8 storage round
# off; two models give next to 0, and a model and one trained on from it rarely more than 0.9.
_SAME_MODEL_SCORE: Final = 0.95
_CHUNKS_PER_OVERLAP: Final = 8


@dataclass(frozen=True)
class CollectionOptions:
    """What a caller wants of a collection; None is what it has, or a new one's default.

    They belong to the collection: with other ones it has to be made anew.

    Attributes:
        storage: See `CollectionSpec`, also for all that follow.
    """

    storage: Storage | None = None
    colbert: ColbertChoice | None = None
    pool_factor: int | None = None
    max_tokens: int | None = None
    overlap_tokens: int | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def find_spec(store: Store, name: str) -> CollectionSpec | None:
    """Return how a collection was made; None where there is none of that name.

    Raises:
        InvalidInputError: The name is none.
        ForeignCollectionError: It was not made by this project.
        StoreError: The store failed.
    """
    try:
        return store.spec(checked_name(name))
    except CollectionNotFoundError:
        return None


def new_spec(name: str, model: ModelInfo, options: CollectionOptions) -> CollectionSpec:
    """Return the spec of a collection for a model.

    Raises:
        InvalidInputError: The name is none, or an option is out of its range.
    """
    try:
        spec = CollectionSpec(
            name=name,
            model=model.name,
            dense_size=model.hidden_size,
            colbert_size=model.colbert_size,
            **_with_overlap(options.given()),
        )
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}, not {item['input']!r}"
            for item in error.errors()
        )
        raise InvalidInputError(f"collection {name!r} cannot be made so: {problems}") from error
    if options.pool_factor is not None and spec.colbert != "pooled":
        raise InvalidInputError(
            "a pool factor is for pooled ColBERT vectors: colbert must be 'pooled', not "
            f"{spec.colbert!r}"
        )
    chunk_options(spec)
    return spec


def _with_overlap(given: dict[str, Any]) -> dict[str, Any]:
    """A new collection's default, which small chunks have less of."""
    if "max_tokens" not in given or "overlap_tokens" in given:
        return given
    most: int = CollectionSpec.model_fields["overlap_tokens"].default
    return {**given, "overlap_tokens": min(most, given["max_tokens"] // _CHUNKS_PER_OVERLAP)}


def chunk_options(spec: CollectionSpec) -> ChunkOptions:
    """Return how the documents of a collection are cut.

    Raises:
        InvalidInputError: They cannot be cut so.
    """
    return ChunkOptions(spec.max_tokens, spec.overlap_tokens)


def check_options(spec: CollectionSpec, options: CollectionOptions) -> None:
    """Refuse options that are not the collection's.

    Raises:
        OptionsMismatchError: Some are not.
    """
    asked = {name: value for name, value in options.given().items() if getattr(spec, name) != value}
    if asked:
        raise OptionsMismatchError(spec.name, {name: getattr(spec, name) for name in asked}, asked)


def check_model(spec: CollectionSpec, model: ModelInfo, client: IndexClient, store: Store) -> None:
    """Refuse a server whose vectors do not go together with those of a collection.

    Names and sizes are compared, and then the vectors: the text of a chunk that is there is
    encoded again, and has to give the vector that is there.

    Raises:
        ModelMismatchError: They do not.
        ServerError: The server failed.
        StoreError: The store failed.
    """
    collection = (spec.model, spec.dense_size, spec.colbert_size)
    served = (model.name, model.hidden_size, model.colbert_size)
    if collection != served:
        raise ModelMismatchError(
            spec.name,
            f"was made for the model {_described(*collection)}, and the server has "
            f"{_described(*served)}",
        )
    anywhere = np.zeros(spec.dense_size, np.float32)
    anywhere[0] = 1
    found = store.nearest(spec.name, QueryVectors(dense=anywhere), 1)
    if not found:
        return
    stored = found[0].stored
    again = client.encode([stored.chunk.text], max_length=spec.max_tokens).dense[0]
    scores = store.scores(spec.name, QueryVectors(dense=again), [found[0].id])
    # Absent: another run has just removed it.
    score = scores.get(found[0].id, {}).get("dense", 1.0)
    if score < _SAME_MODEL_SCORE:
        raise ModelMismatchError(
            spec.name,
            "holds vectors of another model: a passage of "
            f"{stored.chunk.source} that is encoded again has a score of {score:.2f} with its own "
            "vector, not 1",
        )


def _described(name: str, dense_size: int, colbert_size: int) -> str:
    return f"{name!r} (dense {dense_size:,}, ColBERT {colbert_size:,} numbers)"
