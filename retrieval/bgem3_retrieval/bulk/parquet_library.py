"""What Parquet needs, and what to do where it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bgem3_retrieval.errors import MissingLibraryError


@contextmanager
def parquet_library() -> Iterator[None]:
    """Say what to install when an import in the block finds no pyarrow.

    Raises:
        MissingLibraryError: In place of the ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise MissingLibraryError(
            "Parquet needs pyarrow: pip install 'bgem3-triton[retrieval]'"
        ) from error
