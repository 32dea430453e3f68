"""The service's certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from bgem3_server.errors import TLSError
from bgem3_server.gateway.settings import GatewaySettings


def server_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """Return what connections are encrypted with; None where the settings name no certificate.

    Raises:
        TLSError: A file is missing, unreadable or no PEM, or the key is another certificate's.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None and settings.tls_client_authority is None:
        return None
    if certificate is None or key is None:
        raise TLSError(
            "HTTPS needs both --tls-certificate and --tls-key: "
            + ("the key" if certificate else "the certificate")
            + " is missing"
        )
    _check_readable("--tls-certificate", certificate)
    _check_readable("--tls-key", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TLSError(f"the key {key} does not belong to the certificate {certificate}") from (
                error
            )
        raise TLSError(
            f"{certificate} and {key} are not a certificate and its key in PEM: {error.reason}"
        ) from error
    if settings.tls_client_authority is not None:
        _trust_only(settings.tls_client_authority, context)
    return context


def _trust_only(authority: Path, context: ssl.SSLContext) -> None:
    """Ask every caller for a certificate of an authority."""
    _check_readable("--tls-client-authority", authority)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise TLSError(
            f"{authority} (--tls-client-authority) holds no certificate in PEM: {error.reason}"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _check_readable(option: str, path: Path) -> None:
    # OpenSSL says neither which file it is nor what is wrong with it.
    try:
        path.read_bytes()
    except OSError as error:
        raise TLSError(f"cannot read {path} ({option}): {error.strerror}") from error


def _refuse_encrypted() -> NoReturn:
    # Without this OpenSSL would ask the terminal, and wait.
    raise TLSError(
        "the private key (--tls-key) is encrypted, and nobody could type its password at a "
        "restart: decrypt it with 'openssl pkey' and let file permissions keep it"
    )
