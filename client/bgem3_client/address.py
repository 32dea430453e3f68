"""Where a server is and how to talk to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from bgem3_client.errors import InvalidInputError
from bgem3_client.tls import TLS

Protocol: TypeAlias = Literal["grpc", "http", "bgem3"]
"""Triton's gRPC, Triton's HTTP, or the HTTP service in front of it."""

_PROTOCOLS: Final[dict[str, tuple[Protocol, bool]]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
    "bgem3": ("bgem3", False),
    "bgem3s": ("bgem3", True),
}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "bgem3": 33330, "bgem3s": 33330}


@dataclass(frozen=True)
class Address:
    """A checked server address.

    Attributes:
        protocol: What is spoken there.
        target: ``host:port``, and for HTTP the path below which the server answers, if any.
        tls: How the connection is encrypted; None when it is not.
    """

    protocol: Protocol
    target: str
    tls: TLS | None

    @classmethod
    def parse(cls, url: str, tls: bool | TLS = False) -> Address:
        """Read ``host:port`` (gRPC), ``grpc://``, ``http://``, ``bgem3://``, or one with an s.

        Args:
            url: The address as a user writes it.
            tls: Encrypt; True trusts the usual authorities. ``grpcs``, ``https`` and ``bgem3s``
                always do.

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
                f"not a server address: {url!r}; write 'host:port' or 'grpc://host:port' for "
                "Triton's gRPC port, 'http://host:port' for its HTTP port, 'bgem3://host:33330' "
                "for the HTTP service; 'grpcs://', 'https://' or 'bgem3s://' to encrypt"
            )
        if parts.query or parts.fragment or parts.path.startswith("//"):
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
