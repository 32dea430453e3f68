"""Where a Qdrant server is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from bgem3_client.errors import InvalidInputError

_PORT: Final = 6333
_GRPC_PORT: Final = 6334


@dataclass(frozen=True)
class ServerUrl:
    """The parts of ``http(s)://HOST[:6333][/PREFIX][?grpc_port=6334]``.

    Attributes:
        base: Of the HTTP interface, with the port and the prefix.
        host: Without the brackets of IPv6.
        grpc_port: 0 where gRPC is not to be used.
    """

    base: str
    host: str
    grpc_port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            InvalidInputError: It is no such URL.
        """
        parts = _split(url)
        host = parts.hostname or ""
        shown = f"[{host}]" if ":" in host else host
        base = f"{parts.scheme}://{shown}:{parts.port or _PORT}{parts.path}"
        return cls(base, host, _grpc_port(parts))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        wrong = not parts.hostname or parts.port == 0
    except ValueError as error:
        raise InvalidInputError(f"{url!r} is no URL of a Qdrant server: {error}") from error
    if wrong or parts.scheme not in ("http", "https"):
        raise InvalidInputError(f"{url!r} is no URL of a Qdrant server: http(s)://HOST:6333")
    if parts.username or parts.password or parts.fragment:
        raise InvalidInputError(
            "a Qdrant server's URL has no user, password or fragment; its API key goes into "
            "BGEM3_STORE_API_KEY"
        )
    return parts


def _grpc_port(parts: SplitResult) -> int:
    options = parse_qs(parts.query, keep_blank_values=True)
    given = options.pop("grpc_port", [str(_GRPC_PORT)])[-1]
    if options or not given.isdecimal() or int(given) > 65535:
        raise InvalidInputError(
            f"the only option of a Qdrant server's URL is grpc_port=NUMBER, not {parts.query!r}"
        )
    return int(given)
