"""Server addresses as users write them."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from bgem3_client import TLS, AsyncClient, InvalidInputError
from bgem3_client.address import Address


@pytest.mark.parametrize(
    ("url", "tls", "protocol", "target", "encrypted"),
    [
        ("localhost:8001", False, "grpc", "localhost:8001", False),
        ("localhost:8001", True, "grpc", "localhost:8001", True),
        ("grpc://triton:1", False, "grpc", "triton:1", False),
        ("grpcs://triton:1/", False, "grpc", "triton:1", True),
        ("http://triton:8000", False, "http", "triton:8000", False),
        ("http://triton", False, "http", "triton:80", False),
        ("https://triton/models/", False, "http", "triton:443/models", True),
        ("https://triton", True, "http", "triton:443", True),
        ("[::1]:8001", False, "grpc", "[::1]:8001", False),
        ("bgem3://gateway:33330", False, "bgem3", "gateway:33330", False),
        ("bgem3://gateway", False, "bgem3", "gateway:33330", False),
        ("bgem3s://gateway:443/bge/", False, "bgem3", "gateway:443/bge", True),
    ],
)
def test_address_is_read(url, tls, protocol, target, encrypted):
    """Without a scheme it is gRPC; `grpcs`, `https`, `bgem3s` and `tls` encrypt."""
    address = Address.parse(url, tls)

    assert (protocol, target, encrypted) == (
        address.protocol,
        address.target,
        address.tls is not None,
    )


@pytest.mark.parametrize(
    ("url", "tls", "words"),
    [
        ("localhost", False, "write 'host:port'"),
        ("", False, "write 'host:port'"),
        ("localhost:port", False, "not a server address"),
        ("localhost:99999", False, "not a server address"),
        ("[::1", False, "not a server address"),
        ("ftp://localhost:21", False, "write 'host:port'"),
        ("grpc://localhost:8001/path", False, "no path"),
        ("http://user:secret@localhost", False, "headers="),
        ("http://localhost?x=1", False, "host, port and path only"),
        ("http://http://localhost:8000", False, "host, port and path only"),
        ("http://localhost:8000", True, "https://"),
        ("grpc://localhost:8001", TLS(), "grpcs://"),
        ("bgem3://localhost", True, "bgem3s://"),
    ],
)
def test_wrong_address_says_how_to_write_it(url, tls, words):
    """A wrong address is refused when the client is made, before anything is sent."""
    with pytest.raises(InvalidInputError, match=words):
        AsyncClient(url, tls=tls)


def test_password_in_address_is_not_repeated():
    """The message about credentials in an address does not show them."""
    with pytest.raises(InvalidInputError) as caught:
        AsyncClient("http://user:secret@localhost")

    assert "secret" not in str(caught.value)


def test_grpc_refuses_to_be_insecure():
    """GRPC cannot skip the check of the certificate, and says what to do instead."""
    with pytest.raises(InvalidInputError, match="root_certificates"):
        AsyncClient("grpcs://localhost:1", tls=TLS(insecure=True))


def test_insecure_http_takes_any_certificate():
    """TLS(insecure=True) switches off both checks; TLS() none."""
    insecure, secure = TLS(insecure=True).ssl_context(), TLS().ssl_context()

    assert (False, ssl.CERT_NONE) == (insecure.check_hostname, insecure.verify_mode)
    assert (True, ssl.CERT_REQUIRED) == (secure.check_hostname, secure.verify_mode)


@pytest.mark.parametrize("url", ["grpcs://localhost:1", "https://localhost:1"])
@pytest.mark.parametrize(
    "tls",
    [
        TLS(root_certificates="no/such/file.pem"),
        TLS(client_certificate="no/such/file.pem", client_key="no/such/file.pem"),
    ],
)
def test_missing_certificate_is_said_at_once(url, tls):
    """A certificate file that cannot be read is an error of the constructor, over both ways."""
    with pytest.raises(InvalidInputError, match=r"TLS: .*No such file"):
        AsyncClient(url, tls=tls)


def test_half_a_client_certificate_is_refused():
    """A client certificate without its key is of no use."""
    with pytest.raises(InvalidInputError, match="go together"):
        TLS(client_certificate=Path("client.pem"))


@pytest.mark.parametrize(
    "headers", [{"bad name": "x"}, {"x": "line\nbreak"}, {"x": "ü"}, {"Transfer-Encoding": "x"}]
)
def test_header_that_cannot_be_sent_is_refused(headers):
    """Headers are checked when the client is made."""
    with pytest.raises(InvalidInputError, match="header"):
        AsyncClient("localhost:1", headers=headers)


def test_url_and_transport_are_alternatives():
    """A client needs to know where to send, once."""
    with pytest.raises(InvalidInputError, match="url of a server, or else a transport"):
        AsyncClient()


def test_command_line_and_errors_import_quickly():
    """Importing the package, its errors or the command loads neither NumPy nor gRPC."""
    code = (
        "import sys, bgem3_client, bgem3_client.errors, bgem3_client.command_line.main;"
        "print([name for name in ('numpy', 'grpc', 'tritonclient', 'aiohttp') "
        "if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert "[]\n" == printed


def test_every_public_name_exists():
    """All names of `__all__` can be imported, and the package has no others."""
    import bgem3_client

    assert sorted(bgem3_client.__all__) == dir(bgem3_client)
    assert all(getattr(bgem3_client, name).__name__ == name for name in bgem3_client.__all__)
