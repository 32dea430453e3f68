"""A Milvus in this process, or on a server, and what their failures mean."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import grpc
from pymilvus import MilvusClient, MilvusException

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.errors import MissingLibraryError, StoreError

# What `pymilvus` raises for a server's or a connection's failure.
FAILURES: Final = (MilvusException, grpc.RpcError)
NOT_FOUND_CODE: Final = 100

# Both write to the log what they raise, or answer with, as well.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
logging.getLogger("milvus_lite.adapter").setLevel(logging.CRITICAL)

_CONNECT_SECONDS: Final = 10.0
_REFUSALS: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_UNREACHED: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
# Of a Milvus that refuses a token after the connection was made.
_REFUSED_CODES: Final = frozenset({1400, 1401, 1800})


class Connection(Protocol):
    """Where a client comes from."""

    address: str
    embedded: bool

    def open(self) -> MilvusClient:
        """Return a client.

        Raises:
            StoreError: There is nothing to connect to.
        """

    def close(self) -> None:
        """Let go of the client and of what it was connected to."""


class EmbeddedMilvus:
    """`milvus-lite`: a server in threads of this process, on a port of 127.0.0.1.

    Its "file" is a folder, which one process has open at a time.
    """

    embedded = True

    def __init__(self, path: Path) -> None:
        self.address = f"milvus:{path}"
        self._path = path
        self._client: MilvusClient | None = None
        self._server: grpc.Server | None = None
        self._close_files = _nothing

    def open(self) -> MilvusClient:
        """See the base class."""
        try:
            from milvus_lite.adapter.grpc.server import start_server_in_thread
            from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError
        except ModuleNotFoundError as error:
            raise MissingLibraryError(
                f"an embedded Milvus needs milvus-lite 3.2 or later ({error.name} is missing): "
                "pip install 'bgem3-triton[milvus]'"
            ) from error
        self._check_path()
        try:
            server, files, port = start_server_in_thread(str(self._path))
        except DataDirLockedError as error:
            raise StoreError(
                f"{self.address} is open in another process, and an embedded Milvus serves one at "
                "a time: wait until it has ended, or use a Milvus server "
                "(--store milvus+http://HOST:19530)"
            ) from error
        except MilvusLiteError as error:
            raise StoreError(f"{self.address} cannot be read: {error}") from error
        except OSError as error:
            raise StoreError(f"{self.address} cannot be opened: {error.strerror}") from error
        self._server, self._close_files = server, files.close
        try:
            self._client = _connect(f"http://127.0.0.1:{port}", "")
        except FAILURES as error:
            self.close()
            raise StoreError(f"{self.address}: {explain(error)}") from error
        return self._client

    def close(self) -> None:
        """See the base class."""
        if self._client is not None:
            self._client.close()
        if self._server is not None:
            self._server.stop(grace=None).wait()
        self._close_files()
        self._client, self._server, self._close_files = None, None, _nothing

    def _check_path(self) -> None:
        if self._path.is_file():
            raise StoreError(
                f"{self.address} is a file, and an embedded Milvus keeps a folder since version 3: "
                "choose another name"
            )
        is_new = not self._path.exists() or not any(self._path.iterdir())
        if not is_new and not (self._path / "collections").is_dir():
            raise StoreError(
                f"the folder {self.address} holds something else, and is left alone: choose "
                "another name"
            )


class MilvusServer:
    """A Milvus server or cluster."""

    embedded = False

    def __init__(self, url: str, api_key: str | None) -> None:
        """Take down where the server is.

        Args:
            url: ``http(s)://HOST[:19530][/DATABASE]``.
            api_key: A token, or ``USER:PASSWORD``.

        Raises:
            InvalidInputError: It is no such URL.
        """
        try:
            parts = urlsplit(url)
            wrong = not parts.hostname or parts.port == 0 or parts.query or parts.fragment
        except ValueError as error:
            raise InvalidInputError(f"{url!r} is no URL of a Milvus server: {error}") from error
        if parts.username or parts.password:
            raise InvalidInputError(
                "a Milvus server's URL has no user and password; USER:PASSWORD, or a token, goes "
                "into BGEM3_STORE_API_KEY"
            )
        if wrong or parts.scheme not in ("http", "https"):
            raise InvalidInputError(
                f"{url!r} is no URL of a Milvus server: milvus+http(s)://HOST:19530[/DATABASE]"
            )
        self.address = f"milvus+{url}"
        self._url = url
        self._api_key = api_key or ""
        self._client: MilvusClient | None = None

    def open(self) -> MilvusClient:
        """See the base class."""
        try:
            self._client = _connect(self._url, self._api_key)
        except FAILURES as error:
            raise StoreError(f"Milvus at {self.address}: {explain(error)}") from error
        return self._client

    def close(self) -> None:
        """See the base class."""
        if self._client is not None:
            self._client.close()
            self._client = None


def connection_to(location: str, api_key: str | None) -> Connection:
    """Return the connection to a file's name or a URL; nothing is opened yet."""
    if location.startswith(("http://", "https://")):
        return MilvusServer(location, api_key)
    return EmbeddedMilvus(Path(location).expanduser())


def explain(error: Exception) -> str:
    """Return what one of :data:`FAILURES` means, and what can be done where that is known."""
    code = _grpc_code(error)
    if code in _REFUSALS or getattr(error, "code", None) in _REFUSED_CODES:
        return "it refuses the token, or wants one: set BGEM3_STORE_API_KEY"
    if code in _UNREACHED:
        return (
            "it cannot be reached, or not in time: is it running, and is that its port (Milvus's "
            "is 19530)?"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "what answers there is no Milvus, or too old a one: look at the address"
    return error.message if isinstance(error, MilvusException) else str(error)


def _connect(url: str, token: str) -> MilvusClient:
    # A connection of its own: `pymilvus` shares others by address, and ports come back.
    return MilvusClient(url, token=token, timeout=_CONNECT_SECONDS, dedicated=True)


def _grpc_code(error: BaseException) -> grpc.StatusCode | None:
    """Return the status of the request that an error comes from."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, grpc.Call):
            return found.code()
        # `pymilvus` raises errors from themselves.
        found = found.__cause__ if found.__cause__ is not found else None
    return None


def _nothing() -> None:
    return None
