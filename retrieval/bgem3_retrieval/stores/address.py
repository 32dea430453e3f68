"""From an address to a store."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import platformdirs

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import MissingLibraryError
from bgem3_retrieval.stores.store import Store

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST_AND_PORT: Final = re.compile(r"(localhost|[\w-]+(\.[\w-]+)*):\d{1,5}/?")
_FORMS: Final = (
    "a folder (embedded Qdrant), http(s)://HOST:6333 (Qdrant), milvus:FILE.db (embedded Milvus) "
    "or milvus+http(s)://HOST:19530 (Milvus)"
)


def default_store_address() -> str:
    """Return the folder that is the store where none is named: in the user's data directory."""
    return str(platformdirs.user_data_path("bgem3", appauthor=False) / "store")


def is_embedded(address: str) -> bool:
    """Whether the store of an address is inside the process that opens it, and no other's."""
    return not address.startswith(("http://", "https://", "milvus+http://", "milvus+https://"))


def open_store(
    address: str, api_key: str | None = None, say: Callable[[str], None] | None = None
) -> Store:
    """Open the store of an address.

    Args:
        address: A folder: an embedded Qdrant. ``http://HOST:6333`` or ``https://…``: a Qdrant
            server or cluster. ``milvus:FILE.db``: an embedded Milvus.
            ``milvus+http://HOST:19530`` or ``milvus+https://…``: a Milvus server.
        api_key: For a server that wants one.
        say: Of a long run: a Qdrant server that goes away is waited for about a minute, not some
            seconds, and this is told so, and when it is back.

    Returns:
        The store. A folder is made when its first collection is, and a server is asked with the
        first request.

    Raises:
        InvalidInputError: It is no address.
        MissingLibraryError: The store's library is not installed.
    """
    if not address.strip():
        raise InvalidInputError(f"the store's address is empty; it is {_FORMS}")
    if address.startswith(("milvus:", "milvus+http://", "milvus+https://")):
        return _open_milvus(address, api_key)
    scheme = _SCHEME.match(address)
    if scheme is None:
        return _open_folder(address)
    if scheme[1].lower() in ("http", "https"):
        return _open_qdrant_server(address, api_key, say)
    raise InvalidInputError(f"no store has addresses like {address!r}; one is {_FORMS}")


def _open_folder(address: str) -> Store:
    path = Path(address).expanduser()
    if path.is_file():
        hint = f"; an embedded Milvus is milvus:{address}" if path.suffix == ".db" else ""
        raise InvalidInputError(f"the store {address} is a file, and has to be a folder{hint}")
    if _HOST_AND_PORT.fullmatch(address) and not path.exists():
        raise InvalidInputError(
            f"{address!r} looks like a server: write http://{address}; "
            f"if it is to be a folder, write ./{address}"
        )
    try:
        from bgem3_retrieval.stores.qdrant.folder import EmbeddedQdrant
    except ModuleNotFoundError as error:
        raise _missing(error, "retrieval") from None
    return EmbeddedQdrant(path)


def _open_qdrant_server(
    address: str, api_key: str | None, say: Callable[[str], None] | None
) -> Store:
    try:
        from bgem3_retrieval.stores.qdrant.server import LONG_RUN, QdrantServer
    except ModuleNotFoundError as error:
        raise _missing(error, "retrieval") from None
    if say is None:
        return QdrantServer(address, api_key=api_key)
    return QdrantServer(address, api_key=api_key, retries=LONG_RUN, say=say)


def _open_milvus(address: str, api_key: str | None) -> Store:
    rest = address.removeprefix("milvus").lstrip(":+")
    if not rest or rest in ("http://", "https://"):
        raise InvalidInputError(
            f"{address!r} names no {'file' if address.startswith('milvus:') else 'host'}: "
            "it is milvus:FILE.db or milvus+http(s)://HOST:19530"
        )
    try:
        from bgem3_retrieval.stores.milvus import MilvusStore
    except ModuleNotFoundError as error:
        raise _missing(error, "milvus") from None
    return MilvusStore(rest, api_key=api_key)


def _missing(error: ModuleNotFoundError, extra: str) -> Exception:
    if (error.name or "").startswith("bgem3_"):
        return error  # a part of this project is gone, which installing a library does not mend
    return MissingLibraryError(
        f"this store needs {error.name}: pip install 'bgem3-triton[{extra}]'"
    )
