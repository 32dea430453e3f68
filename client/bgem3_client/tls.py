"""How a connection is encrypted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from bgem3_client.errors import InvalidInputError


@dataclass(frozen=True)
class TLS:
    """Certificates for an encrypted connection; ``TLS()`` trusts the usual authorities.

    Attributes:
        root_certificates: PEM file of the authorities to trust instead of the usual ones.
        client_certificate: PEM file that proves who the client is; needs ``client_key``.
        client_key: PEM file of the client certificate's private key.
        insecure: Take any server certificate. For trying things out; HTTP only, since gRPC
            always checks.
    """

    root_certificates: str | PathLike[str] | None = None
    client_certificate: str | PathLike[str] | None = None
    client_key: str | PathLike[str] | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.client_certificate is None) != (self.client_key is None):
            raise InvalidInputError("TLS: client_certificate and client_key go together")
        if self.insecure and self.root_certificates is not None:
            raise InvalidInputError("TLS: insecure checks nothing, so leave out root_certificates")

    def read(self, name: str) -> bytes | None:
        """Return the content of the file named in the attribute ``name``; None when unset.

        Raises:
            InvalidInputError: The file cannot be read.
        """
        path: str | PathLike[str] | None = getattr(self, name)
        if path is None:
            return None
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise InvalidInputError(f"TLS: cannot read {name}: {error}") from error

    def ssl_context(self) -> ssl.SSLContext:
        """Return the same as Python's ``ssl`` wants it.

        Raises:
            InvalidInputError: A file cannot be read, or holds no certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.root_certificates)
            if self.client_certificate is not None and self.client_key is not None:
                context.load_cert_chain(self.client_certificate, self.client_key)
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"TLS: no usable certificate or key: {error}") from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
