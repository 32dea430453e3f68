"""What is said of proxies and the hub."""

from __future__ import annotations

import socket

import pytest
from doctor_run import finding, seen
from live_service import live_app
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Outcome
from bgem3_server.doctor.subject import Subject

WELL = [(Outcome.OK, None)]
CAUGHT = [(Outcome.WARNING, Code.PROXY_CATCHES_SERVER)]
PROXY = "http://alice:hunter22@proxy.example:3128"


def test_no_proxy_at_all():
    """Nothing is in the way."""
    assert WELL == seen("network.proxies")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "grpc_proxy"])
def test_a_proxy_that_catches_localhost(variable, monkeypatch):
    """Whose clients get the proxy's errors; its password is not repeated."""
    monkeypatch.setenv(variable, PROXY)

    found = finding("network.proxies")

    assert CAUGHT == [(found.outcome, found.code)]
    assert "http://***@proxy.example:3128" == found.details["proxy"]
    assert "hunter22" not in repr(found)


def test_a_proxy_that_leaves_the_servers_alone(monkeypatch):
    """By name and by number, since both are written."""
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    well = seen("network.proxies")
    elsewhere = finding("network.proxies", Subject(url="triton.example:8001"))
    monkeypatch.setenv("no_proxy", "localhost")
    by_name = finding("network.proxies")

    assert WELL == well
    assert ["triton.example"] == elsewhere.details["hosts"]
    assert ["127.0.0.1"] == by_name.details["hosts"]


def test_grpc_does_not_read_no_proxy_in_capitals(monkeypatch):
    """So what other clients take for an exception is none for it."""
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")

    assert CAUGHT == seen("network.proxies")


def test_settings_of_the_hub(monkeypatch):
    """Serving needs none, so it is never a problem."""
    before = finding("network.hub_settings")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret1@mirror.example")
    after = finding("network.hub_settings")

    assert (False, "https://huggingface.co") == tuple(before.details.values())
    assert (True, "https://***@mirror.example") == tuple(after.details.values())
    assert [Outcome.OK] * 2 == [before.outcome, after.outcome]


def test_the_hub_is_not_asked_unless_the_user_says_so(monkeypatch):
    """A machine without network waits for nothing."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    assert [(Outcome.NOT_APPLICABLE, None)] == seen("network.hub")


def test_a_hub_that_answers(monkeypatch):
    """One file of the model is asked for, not fetched."""
    path = "/BAAI/bge-m3/resolve/main/config.json"
    hub = Starlette(routes=[Route(path, lambda request: PlainTextResponse("{}"))])
    with live_app(hub) as url:
        monkeypatch.setenv("HF_ENDPOINT", f"{url}/")

        assert WELL == seen("network.hub", Subject(hub=True))


def test_a_hub_that_cannot_be_reached(monkeypatch):
    """Neither where nobody listens, nor where somebody else does, nor at what is no URL."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with live_app(Starlette()) as other:
        for endpoint in (f"http://127.0.0.1:{port}", other, "mirror"):
            monkeypatch.setenv("HF_ENDPOINT", endpoint)

            found = finding("network.hub", Subject(hub=True))

            assert (Outcome.PROBLEM, Code.HUB_UNREACHABLE) == (found.outcome, found.code)
            assert "HF_ENDPOINT=" in found.advice


def test_a_hub_that_is_not_to_be_asked(monkeypatch):
    """Offline means that nobody asks."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")

    assert [(Outcome.WARNING, Code.HUB_OFFLINE)] == seen("network.hub", Subject(hub=True))
