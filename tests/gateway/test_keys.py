"""Who is let in, and how the keys are changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bgem3_client import FakeTransport, InvalidInputError
from bgem3_server.gateway.access import keys as keys_module
from bgem3_server.gateway.access.keys import Keys, read_keys
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.calls.errors import UnauthorizedError
from bgem3_server.gateway.settings import GatewaySettings


def write(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return write(tmp_path / "keys", "# the search team", "first-key", "", "  second-key  ")


@pytest.fixture
def no_waiting(monkeypatch):
    """The file is looked at for each request."""
    monkeypatch.setattr(keys_module, "_CHECK_SECONDS", 0.0)


def lets_in(keys: Keys, key: str) -> bool:
    try:
        keys.check(f"Bearer {key}")
    except UnauthorizedError:
        return False
    return True


def service(**settings: object) -> TestClient:
    return TestClient(create_app(GatewaySettings(**settings), FakeTransport()))


def test_keys_of_file_and_environment_are_let_in(key_file, monkeypatch):
    """Blanks, empty lines and comments do not count; the scheme is written in any case."""
    monkeypatch.setenv("BGEM3_API_KEYS", "third, fourth")
    keys = read_keys(GatewaySettings(api_keys_file=key_file))

    assert keys is not None
    assert 4 == len(keys)
    assert [True] * 4 == [
        lets_in(keys, key) for key in ("first-key", "second-key", "third", "fourth")
    ]
    assert [False] * 4 == [
        lets_in(keys, key) for key in ("first-ke", "first-keyy", "# the search team", "")
    ]
    keys.check("bearer first-key")


def test_without_keys_everybody_is_let_in():
    """An empty variable, as compose files leave it, is none."""
    assert read_keys(GatewaySettings(api_keys="")) is None
    assert 404 == service().get("/nothing").status_code


def test_changed_file_counts_without_a_restart(key_file, no_waiting):
    """A new key is let in, and one that was removed no longer."""
    keys = Keys(GatewaySettings(api_keys_file=key_file))
    write(key_file, "new-key")

    assert lets_in(keys, "new-key")
    assert not lets_in(keys, "first-key")


def test_file_is_looked_at_once_a_second_at_most(key_file):
    """Not for each of hundreds of requests."""
    keys = Keys(GatewaySettings(api_keys_file=key_file))
    write(key_file, "new-key")

    assert lets_in(keys, "first-key")


@pytest.mark.parametrize("content", [None, "# nothing\n", "two words\n", "caf\u00e9\n"])
def test_unusable_file_keeps_the_keys_as_they_were(content, key_file, no_waiting):
    """A slip of an administrator locks nobody out, and lets nobody in."""
    keys = Keys(GatewaySettings(api_keys_file=key_file))
    if content is None:
        key_file.unlink()
    else:
        key_file.write_text(content)

    assert lets_in(keys, "first-key")
    assert not lets_in(keys, "two words")

    write(key_file, "mended")

    assert lets_in(keys, "mended")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (b"# nothing\n", "has no key"),
        (b"good\ntwo words\n", "key number 2"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_unusable_file_at_the_start_is_an_error(content, complaint, tmp_path):
    """Nobody starts a service that is open, or closed, by mistake."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InvalidInputError, match=complaint):
        service(api_keys_file=file)


@pytest.mark.parametrize("keys", [" , ", "good,two words"])
def test_unusable_keys_in_the_environment_are_an_error(keys):
    """And the message does not repeat them."""
    with pytest.raises(InvalidInputError, match="BGEM3_API_KEYS") as caught:
        service(api_keys=keys)

    assert "words" not in str(caught.value)


def test_keys_are_not_shown(monkeypatch):
    """Neither by the settings nor by the object that checks them."""
    monkeypatch.setenv("BGEM3_API_KEYS", "very-secret")
    settings = GatewaySettings()

    assert "very-secret" not in repr(settings) + str(settings.model_dump())
    assert "very-secret" not in repr(vars(Keys(settings)))


@pytest.mark.parametrize(
    "method_and_path",
    ["POST /embed", "POST /", "GET /v1/models", "GET /nothing", "POST /health", "POST /page/x"],
)
def test_requests_without_a_known_key_are_refused(method_and_path):
    """401 says how a key is sent, in the shape of the path's dialect, before the body is read."""
    method, path = method_and_path.split()
    client = service(api_keys="right")

    without = client.request(method, path, content=b"not JSON")
    wrong = client.request(method, path, headers={"Authorization": "Bearer wrong"})
    right = client.request(method, path, headers={"Authorization": "Bearer right"})

    assert [401, 401] == [without.status_code, wrong.status_code]
    assert "Bearer" == without.headers["www-authenticate"]
    assert "send the header 'Authorization: Bearer KEY'" in without.text
    assert "not known" in wrong.text
    assert "wrong" not in wrong.text
    assert 401 != right.status_code


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health/live",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/static-offline-docs/swagger-ui.css",
    ],
)
def test_some_paths_need_no_key(path):
    """Those of monitoring and documents, which tell nobody's texts."""
    with service(api_keys="right") as client:
        assert 200 == client.get(path).status_code
        assert 401 == client.post("/embed").status_code


def test_metrics_need_a_key_where_that_is_set():
    """Prometheus can send one."""
    with service(api_keys="right", metrics_need_key=True) as client:
        assert 401 == client.get("/metrics").status_code
        assert 200 == client.get("/metrics", headers={"Authorization": "Bearer right"}).status_code
        assert 200 == client.get("/health/live").status_code


def test_bytes_that_are_no_text_in_the_header_are_no_key():
    """Whatever somebody sends, the answer is the same."""
    response = service(api_keys="right").get(
        "/v1/models", headers={"Authorization": b"Bearer \xff\xfe"}
    )

    assert 401 == response.status_code


def test_same_content_written_again_changes_nothing(key_file, no_waiting):
    """Only the time of the change differs."""
    keys = Keys(GatewaySettings(api_keys_file=key_file))
    os.utime(key_file, (1, 1))

    assert lets_in(keys, "first-key")


def test_docs_know_which_routes_ask_for_a_key():
    """So that the page at /docs can send one; without keys it offers no place for it."""
    document = service(api_keys="right").get("/openapi.json").json()
    open_document = service().get("/openapi.json").json()

    assert {"key"} == set(document["components"]["securitySchemes"])
    assert [{"key": []}] == document["paths"]["/embed"]["post"]["security"]
    assert [] == document["paths"]["/health"]["get"]["security"]
    assert "securitySchemes" not in open_document["components"]
