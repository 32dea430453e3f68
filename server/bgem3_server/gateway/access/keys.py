"""Who may ask: keys that callers send as ``Authorization: Bearer KEY``."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import structlog
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.access.paths import needs_key
from bgem3_server.gateway.calls.errors import UnauthorizedError
from bgem3_server.gateway.settings import GatewaySettings

_CHECK_SECONDS: Final = 1.0
# What a header can carry without quoting.
_KEY: Final = re.compile(r"[!-~]+")

log = structlog.get_logger("bgem3.gateway")

_Stamp = tuple[int, int, int]
"""What tells a file's content apart without reading it: inode, size, time of its last change."""


class Keys:
    """The keys that are let in; the file's are read again when it has changed.

    Only their digests are kept, so no dump of this process shows a key.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        """Read the keys.

        Raises:
            InvalidInputError: The file cannot be read, holds no key, or something that is none.
        """
        given = settings.api_keys.get_secret_value()
        self._fixed = _digests(given.split(","), "BGEM3_API_KEYS") if given else frozenset()
        self._file = settings.api_keys_file
        self._stamp: _Stamp | None = None
        self._from_file: frozenset[bytes] = frozenset()
        self._checked_seconds = time.monotonic()
        if self._file is not None:
            self._stamp = _stamp(self._file)
            self._from_file = _read(self._file)

    def __len__(self) -> int:
        return len(self._fixed | self._from_file)

    def check(self, authorization: str | None) -> None:
        """Let a caller in, or not.

        Args:
            authorization: The header, None where there was none.

        Raises:
            UnauthorizedError: It carries no key, or one that is not known.
        """
        self._reload()
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthorizedError(
                "this service asks for a key: send the header 'Authorization: Bearer KEY'"
            )
        digest = _digest(key.strip())
        # All keys, always: how long it takes must not tell which one was nearly right.
        matches = [hmac.compare_digest(digest, known) for known in self._fixed | self._from_file]
        if not any(matches):
            raise UnauthorizedError("the key in 'Authorization: Bearer KEY' is not known here")

    def _reload(self) -> None:
        """Read the file again if it has changed; keep the old keys if that fails."""
        now = time.monotonic()
        if self._file is None or now - self._checked_seconds < _CHECK_SECONDS:
            return
        self._checked_seconds = now
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._from_file = _read(self._file)
        except InvalidInputError as error:
            log.error("the keys stay as they were", reason=str(error))
        else:
            log.info("keys read again", file=str(self._file), keys=len(self._from_file))


class KeyMiddleware:
    """Lets nobody pass without a key, before anything of the request's body is read."""

    def __init__(self, app: ASGIApp, keys: Keys, metrics_need_key: bool) -> None:
        self._app = app
        self._keys = keys
        self._metrics_need_key = metrics_need_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request; see ASGI.

        Raises:
            UnauthorizedError: It has no key, or one that is not known.
        """
        if scope["type"] == "http" and needs_key(
            scope["method"], scope["path"], self._metrics_need_key
        ):
            self._keys.check(Headers(scope=scope).get("authorization"))
        await self._app(scope, receive, send)


def declare_keys(app: FastAPI, metrics_need_key: bool) -> None:
    """Say in the OpenAPI document which routes ask for a key, so that /docs can send one."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        scheme = {"type": "http", "scheme": "bearer", "description": "A key of this service."}
        document.setdefault("components", {})["securitySchemes"] = {"key": scheme}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                needed = needs_key(method.upper(), path, metrics_need_key)
                operation["security"] = [{"key": []}] if needed else []
        return document

    app.openapi = described  # type: ignore[method-assign] # as FastAPI's documentation has it


def read_keys(settings: GatewaySettings) -> Keys | None:
    """Return the keys that callers must have one of; None where everybody is let in.

    Raises:
        InvalidInputError: There should be keys, and they cannot be read.
    """
    if not settings.has_keys:
        return None
    return Keys(settings)


def _stamp(file: Path) -> _Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None  # reading it will say why
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(file: Path) -> frozenset[bytes]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the file of keys {file} cannot be read: {error}") from error
    return _digests((line for line in lines if not line.lstrip().startswith("#")), str(file))


def _digests(keys: Iterable[str], origin: str) -> frozenset[bytes]:
    """Return the digests of keys, empty ones left out.

    Raises:
        InvalidInputError: There is none, or one that no header can carry.
    """
    digests = set()
    for number, key in enumerate(filter(None, map(str.strip, keys)), 1):
        if not _KEY.fullmatch(key):
            # The key itself is not for a message that may end up in a log.
            raise InvalidInputError(
                f"{origin}: key number {number} cannot be sent in a header: letters, digits and "
                "punctuation in ASCII, and no blanks"
            )
        digests.add(_digest(key))
    if not digests:
        raise InvalidInputError(f"{origin} has no key")
    return frozenset(digests)


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
