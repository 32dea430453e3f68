"""Where a server is and how to talk to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from bgem3_client.errors import InvalidInputError
from bgem3_client.tls import TLS

_PROTOCOLS: Final[dict[str, tuple[Literal["grpc", "http"], bool]]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A checked server address.

    Attributes:
        protocol: What is spoken there.
        target: ``host:port``, and for HTTP the path below which Triton answers, if any.
        tls: How the connection is encrypted; None when it is not.
    """

    protocol: Literal["grpc", "http"]
    target: str
    tls: TLS | None

    @classmethod
    def parse(cls, url: str, tls: bool | TLS = False) -> Address:
        """Read ``host:port`` (gRPC), ``grpc://``, ``grpcs://``, ``http://`` or ``https://``.

        Args:
            url: The address as a user writes it.
            tls: Encrypt; True trusts the usual authorities. ``grpcs`` and ``https`` always do.

        Raises:
            InvalidInputError: Not such an address, or ``tls`` with an unencrypted scheme.
        """
        full_url = url if "://" in url else f"{'grpcs' if tls else 'grpc'}://{url}"
        try:
            parts = urlsplit(full_url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError as error:
            raise InvalidInputError(f"not a server address: {error}") from error
        if "@" in parts.netloc:
            # Not repeated in the message: it may hold a password.
            raise InvalidInputError(
                "credentials do not go into the server address but into "
                "headers={'authorization': ...}"
            )
        if parts.scheme not in _PROTOCOLS or not parts.hostname or port is None:
            raise InvalidInputError(
                f"not a server address: {url!r}; write 'host:port', 'grpc://host:port', "
                "'grpcs://host:port', 'http://host:port' or 'https://host:port'"
            )
        if parts.query or parts.fragment:
            raise InvalidInputError(
                f"a server address is scheme, host, port and path only, not {url!r}"
            )
        protocol, encrypted = _PROTOCOLS[parts.scheme]
        path = parts.path.rstrip("/")
        if protocol == "grpc" and path:
            raise InvalidInputError(f"a gRPC address has no path, as in {url!r}")
        if tls and not encrypted:
            raise InvalidInputError(
                f"tls is set, but {url!r} is not encrypted; write {parts.scheme}s://"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if not encrypted:
            return cls(protocol, f"{host}:{port}{path}", None)
        return cls(protocol, f"{host}:{port}{path}", tls if isinstance(tls, TLS) else TLS())
