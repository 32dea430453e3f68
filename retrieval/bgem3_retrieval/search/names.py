"""Names of collections, and help for those who mistype one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from bgem3_retrieval.errors import CollectionNotFoundError, EmptyStoreError
from bgem3_retrieval.stores.store import Store

_LISTED: Final = 10


def only_collection(store: Store) -> str:
    """Return the name of the store's collection where there is one only.

    Raises:
        CollectionNotFoundError: There is none, or more than one.
        StoreError: The store failed.
    """
    names = store.names()
    if len(names) == 1:
        return names[0]
    if not names:
        raise _nothing_in(store)
    raise CollectionNotFoundError(
        f"{store.address} has several collections: name one of {_listed(names)}"
    )


def not_found(store: Store, name: str) -> CollectionNotFoundError:
    """Return the error for a collection that is not there, with the names that are.

    Raises:
        StoreError: The store failed.
    """
    names = store.names()
    if not names:
        return _nothing_in(store)
    by_lower = {known.lower(): known for known in names}
    near = [by_lower[key] for key in get_close_matches(name.lower(), by_lower, n=3)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {_listed(names)}"
    return CollectionNotFoundError(f"{store.address} has no collection {name!r}: {hint}")


def _nothing_in(store: Store) -> EmptyStoreError:
    return EmptyStoreError(f"{store.address} has no collection yet")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    more = len(names) - _LISTED
    return f"{shown} and {more} more" if more > 0 else shown
