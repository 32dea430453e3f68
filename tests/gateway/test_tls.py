"""A certificate that cannot be used is told before anything listens."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from bgem3_server.errors import TLSError
from bgem3_server.gateway.access.tls import server_context
from bgem3_server.gateway.settings import GatewaySettings


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a.pem`` and ``a.key`` are a pair, as are those of b; ``locked.key`` is a's, encrypted."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=folder)

    for name in ("a", "b"):
        openssl(
            f"req -x509 -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.pem"
        )
    openssl("rsa -aes256 -passout pass:secret -in a.key -out locked.key")
    (folder / "text").write_text("not PEM\n")
    return folder


def context_of(folder: Path, **names: str) -> ssl.SSLContext | None:
    """The context for files named as in ``certificate="a.pem"``."""
    return server_context(
        GatewaySettings(**{f"tls_{option}": folder / name for option, name in names.items()})
    )


def test_without_files_it_is_plain_http(files: Path) -> None:
    """There is no context then."""
    assert context_of(files) is None


def test_a_pair_is_enough(files: Path) -> None:
    """Callers need no certificate unless an authority is named."""
    alone = context_of(files, certificate="a.pem", key="a.key")
    mutual = context_of(files, certificate="a.pem", key="a.key", client_authority="b.pem")

    assert alone is not None
    assert mutual is not None
    assert ssl.CERT_NONE == alone.verify_mode
    assert ssl.CERT_REQUIRED == mutual.verify_mode


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"certificate": "a.pem"}, "both --tls-certificate and --tls-key: the key is missing"),
        ({"key": "a.key"}, "the certificate is missing"),
        ({"client_authority": "a.pem"}, "HTTPS needs both"),
        ({"certificate": "no", "key": "a.key"}, r"cannot read .*no \(--tls-certificate\): No such"),
        ({"certificate": "a.pem", "key": "no"}, r"cannot read .*no \(--tls-key\): No such"),
        ({"certificate": "a.pem", "key": "b.key"}, r"b\.key does not belong to .*a\.pem"),
        ({"certificate": "text", "key": "a.key"}, "are not a certificate and its key in PEM"),
        ({"certificate": "a.pem", "key": "locked.key"}, "is encrypted, and nobody could type"),
        (
            {"certificate": "a.pem", "key": "a.key", "client_authority": "text"},
            r"text \(--tls-client-authority\) holds no certificate",
        ),
    ],
)
def test_what_is_wrong_is_told(files: Path, names: dict[str, str], message: str) -> None:
    """With the file, the option and what to do."""
    with pytest.raises(TLSError, match=message):
        context_of(files, **names)
