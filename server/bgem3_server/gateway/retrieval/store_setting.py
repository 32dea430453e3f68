"""Whether the store that the service is told of can be used."""

from __future__ import annotations

from typing import Final

from bgem3_client.command_line.requirements import require
from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import MissingLibraryError
from bgem3_server.gateway.settings import GatewaySettings

# What every store and every reader of documents needs; the store's own library says so itself.
_LIBRARIES: Final = (
    "charset_normalizer",
    "docx",
    "lxml",
    "markdown_it",
    "platformdirs",
    "pyarrow",
    "pypdfium2",
    "regex",
    "selectolax",
    "yaml",
)


def check_store(settings: GatewaySettings) -> None:
    """Do nothing if there is no store, or one that can be used; nothing is opened.

    Raises:
        MissingLibraryError: What it needs is not installed.
        InvalidInputError: Several workers would share a store that one process has to itself.
    """
    if not settings.store:
        return
    try:
        require(*_LIBRARIES)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            f"--store needs {error.name}: pip install 'bgem3-triton[retrieval]'"
        ) from error
    from bgem3_retrieval.stores.address import is_embedded

    if settings.workers > 1 and is_embedded(settings.store):
        raise InvalidInputError(
            f"--store {settings.store} is embedded, which one process has to itself, and "
            f"--workers is {settings.workers}: serve with one worker, or use a server: "
            "--store http://HOST:6333 (Qdrant) or milvus+http://HOST:19530 (Milvus)"
        )
