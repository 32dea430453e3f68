"""How a collection was made, as a server keeps it with the collection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pydantic

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import ForeignCollectionError, StoreError
from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_retrieval.stores.store import Store


def read_spec(name: str, address: str, kept: str | dict[str, Any] | None) -> CollectionSpec:
    """Return how a collection was made.

    Args:
        name: The collection's.
        address: The server's, for messages.
        kept: What this project has put there, as JSON or what JSON stands for; None where there
            is nothing.

    Raises:
        ForeignCollectionError: There is nothing: it was not made by this project.
        StoreError: It says what this version does not know.
    """
    if kept is None:
        raise ForeignCollectionError(
            f"the collection {name} at {address} was not made by this project, and is left "
            "alone: choose another name"
        )
    try:
        if isinstance(kept, str):
            return CollectionSpec.model_validate_json(kept)
        return CollectionSpec.model_validate(kept)
    except (pydantic.ValidationError, InvalidInputError) as error:  # the latter: of its name
        raise StoreError(
            f"what the collection {name} at {address} says of itself is damaged, or of a later "
            f"version: {error}"
        ) from error


def made_by_this_project(store: Store, names: Iterable[str]) -> list[str]:
    """Return those of a server's collections that this project made, sorted.

    Raises:
        StoreError: The store failed.
    """
    return sorted(name for name in names if _is_ours(store, name))


def _is_ours(store: Store, name: str) -> bool:
    try:
        store.spec(name)
    except InvalidInputError:
        return False  # foreign, of a name that is none of ours, or gone meanwhile
    return True
