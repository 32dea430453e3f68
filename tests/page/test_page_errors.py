"""What the page says when the server refuses, fails, or is away.

The server here is the page's own routes with an `/embed` that answers what each test wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from compare_page import ComparePage
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from live_service import live_app, live_service
from pydantic import SecretStr

from bgem3_client import FakeTransport
from bgem3_server.gateway.page import page_router
from bgem3_server.gateway.settings import GatewaySettings


@dataclass
class ScriptedServer:
    """A server whose answers are set by the test.

    Attributes:
        url: Where it is.
        answer: Gives the answer to the next request.
    delay_seconds: How long it takes for that.
        keys: The ``Authorization`` headers it was sent.
    """

    url: str = ""
    answer: Callable[[], Response] = Response
    delay_seconds: float = 0.0
    keys: list[str | None] = field(default_factory=list)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    app = FastAPI()
    app.include_router(page_router())

    @app.post("/embed")
    async def embed(request: Request) -> Response:
        server.keys.append(request.headers.get("authorization"))
        await asyncio.sleep(server.delay_seconds)
        return server.answer()

    with live_app(app) as server.url:
        yield server


def problem(status: int, message: str, **headers: str) -> Response:
    """An error as the service answers it."""
    body = {"error": message, "error_type": "x", "code": "x", "request_id": "0123abcd"}
    return JSONResponse(body, status, {name.replace("_", "-"): headers[name] for name in headers})


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (413, {}, "The request is too large. Send fewer or shorter texts."),
        (422, {}, "The server cannot take this request."),
        (429, {"Retry_After": "3"}, "The server is busy. Try again in 3 seconds."),
        (503, {"Retry_After": "1"}, "The server is not ready. Try again in 1 second."),
        (504, {}, "The server took too long."),
        (500, {}, "The server failed."),
    ],
)
def test_refusals_are_said_plainly(
    page: ComparePage, server: ScriptedServer, status: int, headers: dict[str, str], said: str
):
    """In the person's words, then the server's own, then the id to find the request by."""
    server.answer = lambda: problem(status, "the server's own words", **headers)
    page.open(server.url)
    page.compare()

    assert [said, "the server's own words", "Request 0123abcd"] == page.notice.splitlines()


def test_a_missing_key_is_asked_for_and_then_sent(page: ComparePage, server: ScriptedServer):
    """The field for it opens and takes the focus; the key outlives a reload, but not the tab."""
    server.answer = lambda: problem(401, "the request has no key")
    server.keys.clear()
    page.open(server.url)
    page.compare()

    assert "The server wants a key." in page.notice
    assert page.one("#key") == page.focused

    page.press("secret-key")
    page.browser.refresh()
    page.compare()

    assert [None, "Bearer secret-key"] == server.keys
    assert "The server does not accept this key." in page.notice
    stored = "return [sessionStorage.length, Object.values(localStorage).join()]"
    assert [1, ""] == page.browser.execute_script(stored)


def test_the_service_takes_the_key_that_was_asked_for(page: ComparePage):
    """Against the service itself; the key is not in what is copied."""
    settings = GatewaySettings(api_keys=SecretStr("a-secret-key"))
    with live_service(settings, FakeTransport()) as url:
        page.open(url)
        page.compare()
        asked = page.notice
        page.press("a-secret-key")
        page.compare()
        curl = page.one("[data-program=curl] code").text

    assert asked.startswith("The server wants a key.")
    assert "" == page.notice
    assert 4 == len(page.ranked_passages)
    assert "Authorization: Bearer $BGEM3_API_KEY" in curl
    assert "a-secret-key" not in page.browser.page_source


def test_a_page_of_a_proxy_is_no_riddle(page: ComparePage, server: ScriptedServer):
    server.answer = lambda: Response("<h1>Bad gateway</h1>", 502, media_type="text/html")
    page.open(server.url)
    page.compare()

    assert "The server is not ready." in page.notice


def test_an_answer_of_another_kind_is_said(page: ComparePage, server: ScriptedServer):
    """A 200 that holds no embeddings is the server's fault, and shown as such."""
    server.answer = lambda: JSONResponse({"unexpected": True})
    page.open(server.url)
    page.compare()

    assert "The server's answer cannot be read." in page.notice


def test_a_server_that_is_gone_is_said(page: ComparePage):
    app = FastAPI()
    app.include_router(page_router())
    with live_app(app) as url:
        page.open(url)
    page.compare()

    assert f"The server does not answer. Is it running at {url}?" in page.notice


def test_a_comparison_can_be_stopped(page: ComparePage, server: ScriptedServer):
    """The button to stop is there while the server works, and the focus goes back after it."""
    server.answer = lambda: problem(500, "too late")
    server.delay_seconds = 2.0
    page.open(server.url)
    page.one("#compare-button").click()
    page.one("#stop").click()
    page.until(lambda: page.notice)
    server.delay_seconds = 0.0

    assert "Stopped." == page.notice
    assert not page.one("#stop").is_displayed()
    assert page.one("#compare-button") == page.focused


def test_errors_are_said_in_chinese(page: ComparePage, server: ScriptedServer):
    server.answer = lambda: problem(429, "busy", Retry_After="7")
    page.open(server.url, languages="zh")
    page.compare()

    assert "服务器繁忙。 请在 7 秒后重试。" == page.notice.splitlines()[0]
