"""What is on the wire is one request, or none: nothing hides behind it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from live_service import live_service
from starlette.testclient import TestClient

from bgem3_client import FakeTransport
from bgem3_server.gateway.access.tls import server_context
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings

BODY = b'{"texts": ["a"], "mode": "dense"}'
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
WAIT_SECONDS = 1.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service without a Triton."""
    settings = GatewaySettings(ready_interval_seconds=0, body_timeout_seconds=0.5)
    with live_service(settings, FakeTransport()) as url:
        yield url


def ask(url: str, *parts: bytes, first: float = 15.0) -> bytes:
    """Send bytes on a connection of their own, and return all that comes back."""
    place = urlsplit(url)
    assert place.hostname is not None
    answer = b""
    with socket.create_connection((place.hostname, place.port or 0), timeout=first) as connection:
        for part in parts:
            connection.sendall(part)
        while True:
            try:
                if not (data := connection.recv(65_536)):
                    return answer
            except (TimeoutError, ConnectionResetError):
                return answer
            answer += data
            connection.settimeout(WAIT_SECONDS)


def post(*headers: bytes, body: bytes = BODY) -> bytes:
    lines = (b"POST /embed HTTP/1.1", b"Host: a", *headers, b"", body)
    return b"\r\n".join(lines)


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(LENGTH, b"Transfer-Encoding: chunked", body=CHUNKED + HIDDEN),
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=CHUNKED + HIDDEN),
        post(LENGTH, b"Content-Length: 5", body=BODY + HIDDEN),
        post(b"Content-Length: 5, 6", body=BODY + HIDDEN),
        post(b"Content-Length: +5", body=BODY + HIDDEN),
        post(b"Content-Length: -1", body=BODY + HIDDEN),
        post(b"Content-Length : 5", body=BODY + HIDDEN),
        post(b"Transfer-Encoding: xchunked", body=CHUNKED + HIDDEN),
        post(b"X-Request-Id: a\x00b", LENGTH),
        post(b"Transfer-Encoding: chunked", body=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n" + HIDDEN),
        b"POST /embed HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_an_ambiguous_request_is_refused(request_bytes: bytes, url: str) -> None:
    """And what stands behind it is not answered as a request of its own."""
    answer = ask(url, request_bytes)

    assert b"/hidden" not in answer
    assert [200] != statuses(answer)[:1]
    assert len(statuses(answer)) <= 1


def test_right_ones_are_answered_each(url: str) -> None:
    """In their order, on one connection."""
    asked = post(b"Transfer-Encoding: chunked", body=CHUNKED) + post(LENGTH) + HIDDEN

    assert [200, 200, 404] == statuses(ask(url, asked))


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nX: b", "a\tb", "é", "a" * 200, ""])
def test_an_id_splits_no_answer(value: str) -> None:
    """Only harmless ones are sent back: others get a new one."""
    app = create_app(GatewaySettings(ready_interval_seconds=0), FakeTransport())
    with TestClient(app) as service:
        headers = [(b"x-request-id", value.encode("utf-8"))]
        answer = service.post("/embed", content=BODY, headers=headers)

    assert 200 == answer.status_code
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-request-id"].isalnum()
    assert value != answer.headers["x-request-id"]


def test_a_name_splits_no_answer(url: str) -> None:
    """A path with a line's end in it ends up in a JSON string, and in no header."""
    answer = ask(url, b"GET /a%0d%0aSet-Cookie:%20b HTTP/1.1\r\nHost: a\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0]

    assert [404] == statuses(answer)
    assert b"et-cookie" not in head.lower()


def test_a_body_that_stands_still_is_given_up(url: str) -> None:
    """With 408, after the setting's time."""
    answer = ask(url, post(LENGTH, body=BODY[:5]))

    assert [408] == statuses(answer)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities; ``good``, ``expired`` and ``server`` are of ``ours``, ``foreign`` is not."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*command: str) -> None:
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=folder)

    for name in ("ours", "theirs"):
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30"),
        )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, authority, days in (
        ("server", "ours", "30"), ("good", "ours", "30"), ("expired", "ours", "-1"),
        ("foreign", "theirs", "30"),
    ):  # fmt: skip
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey"),
            *(f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", days),
            *("-extfile", "names"),
        )
    return folder


@pytest.fixture(scope="module")
def closed_port(pki: Path) -> Iterator[int]:
    """A service that answers nobody without a certificate of ours."""
    import threading

    settings = GatewaySettings(
        ready_interval_seconds=0,
        tls_certificate=pki / "server.pem",
        tls_key=pki / "server.key",
        tls_client_authority=pki / "ours.pem",
    )
    context = server_context(settings)
    app = create_app(settings, FakeTransport())
    config = uvicorn.Config(app, log_config=None, ssl_context_factory=lambda *_: context)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def get(port: int, pki: Path, certificate: str = "", version: ssl.TLSVersion | None = None) -> int:
    """The status of /health/live over TLS."""
    context = ssl.create_default_context(cafile=pki / "ours.pem")
    if version is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    if certificate:
        context.load_cert_chain(pki / f"{certificate}.pem", pki / f"{certificate}.key")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=15) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        if not (answer := connection.recv(65_536)):
            raise ConnectionResetError
        return statuses(answer)[0]


def test_a_certificate_of_ours_is_let_in(closed_port: int, pki: Path) -> None:
    """As soon as it has one."""
    assert 200 == get(closed_port, pki, "good")


@pytest.mark.parametrize("certificate", ["", "foreign", "expired"])
def test_others_are_refused(certificate: str, closed_port: int, pki: Path) -> None:
    """Of no authority, of another, and of ours when its time is over."""
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
        get(closed_port, pki, certificate)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(version: ssl.TLSVersion, closed_port: int, pki: Path) -> None:
    """TLS 1.2 is the oldest."""
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        get(closed_port, pki, "good", version)

    assert 200 == get(closed_port, pki, "good", ssl.TLSVersion.TLSv1_2)
