"""What a caller can do about an error: in this service's routes and fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import (
    CollectionMismatchError,
    CollectionNotFoundError,
    EmptyStoreError,
    ModelMismatchError,
    OptionsMismatchError,
)


@contextmanager
def telling_routes(address: str) -> Iterator[None]:
    """Add to errors about collections what can be done about them, and leave out where they are.

    Args:
        address: The store's, which is nothing for callers.

    Raises:
        CollectionMismatchError: In the place of one without advice.
        CollectionNotFoundError: Also.
        InvalidInputError: As it was raised, without the address.
    """
    try:
        with _without(address):
            yield
    except OptionsMismatchError as error:
        raise CollectionMismatchError(
            f"{error}: leave that out, or remove the collection first, with "
            f"DELETE /collections/{error.collection}"
        ) from error
    except ModelMismatchError as error:
        raise CollectionMismatchError(
            f"{error}. Name another collection, or remove this one first, with "
            f"DELETE /collections/{error.collection}, and index its documents again"
        ) from error
    except EmptyStoreError as error:
        raise CollectionNotFoundError(
            f"{error}: POST /index makes one of documents, /index/files of files"
        ) from error


@contextmanager
def _without(address: str) -> Iterator[None]:
    try:
        yield
    except InvalidInputError as error:
        error.args = tuple(
            part.replace(address, "the store") if isinstance(part, str) else part
            for part in error.args
        )
        raise
