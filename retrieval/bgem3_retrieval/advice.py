"""What a user of the command line can do about an error: in its options and commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from bgem3_retrieval.errors import (
    CollectionMismatchError,
    CollectionNotFoundError,
    EmptyStoreError,
    ModelMismatchError,
    OptionsMismatchError,
)

_ANEW: Final = "anew with --recreate, which encodes everything again"


@contextmanager
def telling_options() -> Iterator[None]:
    """Add to errors about collections what can be done about them.

    Raises:
        CollectionMismatchError: In the place of one without advice.
        CollectionNotFoundError: Also.
    """
    try:
        yield
    except OptionsMismatchError as error:
        raise CollectionMismatchError(
            f"collection {error.collection!r} was made with {_flags(error.has)}, not with "
            f"{_flags(error.asked)}: leave that out, or make the collection {_ANEW}"
        ) from error
    except ModelMismatchError as error:
        raise CollectionMismatchError(
            f"{error}. Serve the model that the collection was made with, name another "
            f"collection, or make this one {_ANEW}"
        ) from error
    except EmptyStoreError as error:
        raise CollectionNotFoundError(
            f"{error}: make one with 'bgem3 index PATH --collection NAME'"
        ) from error


def _flags(options: Mapping[str, object]) -> str:
    return ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
