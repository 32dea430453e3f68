"""What surrounds every request, over real connections."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest
from live_service import live_app
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bgem3_client import InvalidInputError, UnavailableError
from bgem3_server.gateway.calls.call import Priority, current_call
from bgem3_server.gateway.calls.errors import BusyError
from bgem3_server.gateway.calls.middleware import CallMiddleware
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.settings import GatewaySettings


@dataclass
class Site:
    """A small application in the middleware, and what happened inside it."""

    url: str = ""
    began: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    freed: threading.Event = field(default_factory=threading.Event)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def site() -> Iterator[Site]:
    """The application, served."""
    site = Site()

    async def echo(request: Request) -> Response:
        call = await current_call(request)
        body = await request.body()
        left = call.deadline.remaining_seconds()
        return JSONResponse(
            {
                "bytes": len(body),
                "priority": call.priority,
                "left_seconds": left,
                "id": call.request_id,
            }
        )

    async def slow(request: Request) -> Response:
        call = await current_call(request)
        call.at_end(site.freed.set)
        await request.body()
        site.began.set()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            site.cancelled.set()
            raise
        raise AssertionError("nobody hung up")

    async def broken(_: Request) -> Response:
        raise ValueError("a secret of the service")

    async def busy(_: Request) -> Response:
        raise BusyError("full", figures={"budget_tokens": 7}, retry_after_seconds=3)

    async def away(_: Request) -> Response:
        raise UnavailableError("Triton is away")

    async def half(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"[1, 2"
            raise ValueError("in the middle")

        return StreamingResponse(pieces(), headers={"content-length": "100"})

    async def content_type(request: Request) -> Response:
        await request.body()
        return Response(request.headers["content-type"])

    async def odd(_: Request) -> Response:
        raise InvalidInputError("not a name: \ud800")

    routes = {
        "/type": content_type,
        "/odd": odd,
        "/echo": echo,
        "/slow": slow,
        "/broken": broken,
        "/v1/embeddings": busy,
        "/embed_sparse": broken,
        "/away": away,
        "/v2/rerank": away,
        "/half": half,
    }
    app = Starlette(routes=[Route(path, f, methods=["POST"]) for path, f in routes.items()])
    app.add_middleware(
        CallMiddleware,
        settings=GatewaySettings(max_body_bytes=1024, body_timeout_seconds=0.3),
        metrics=site.metrics,
    )
    with live_app(app) as site.url:
        yield site


def test_request_id_is_the_callers_or_a_new_one(site: Site) -> None:
    """It is in the answer's header, whatever the answer; a dangerous one is not repeated."""
    given = httpx.post(site.url + "/echo", headers={"X-Request-Id": "job-7:3"})
    odd = httpx.post(site.url + "/echo", headers={"X-Request-Id": 'x"><script>'})

    assert "job-7:3" == given.headers["x-request-id"] == given.json()["id"]
    assert 32 == len(odd.headers["x-request-id"])


def test_answer_says_how_long_it_took(site: Site) -> None:
    """In the header that browsers show."""
    total, queue = httpx.post(site.url + "/echo").headers["server-timing"].split(", ")

    assert 0 <= float(total.removeprefix("total;dur=")) < 1000
    assert "queue;dur=0.0" == queue


def test_body_of_curl_is_json(site: Site) -> None:
    """``curl -d`` calls its body a form; nothing here takes forms."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    assert "application/json" == httpx.post(site.url + "/type", content=b"{}", headers=form).text
    own = httpx.post(site.url + "/type", content=b"{}", headers={"Content-Type": "text/csv"})
    assert "text/csv" == own.text


def test_message_that_cannot_be_sent_is_escaped(site: Site) -> None:
    """Half a character in what the caller sent does not break the answer that repeats it."""
    answer = httpx.post(site.url + "/odd")

    assert 422 == answer.status_code
    assert "\\ud800" in answer.json()["error"]


def test_headers_of_priority_and_deadline(site: Site) -> None:
    """They are read, and what cannot be read is refused with what to send."""
    url = site.url + "/echo"
    read = httpx.post(url, headers={"X-Priority": "Bulk", "X-Timeout-Seconds": "2.5"}).json()
    long = httpx.post(url, headers={"X-Timeout-Seconds": "9999"}).json()
    priority = httpx.post(url, headers={"X-Priority": "high"})
    timeouts = [httpx.post(url, headers={"X-Timeout-Seconds": t}) for t in ("0", "-1", "nan", "x")]

    assert Priority.BULK == read["priority"]
    assert 2 < read["left_seconds"] <= 2.5
    assert 299 < long["left_seconds"] <= 300
    assert 422 == priority.status_code
    assert "X-Priority is 'high'; send 'interactive' or 'bulk'" == priority.json()["error"]
    assert [422] * 4 == [answer.status_code for answer in timeouts]


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit(site: Site, chunked: bool) -> None:
    """It is refused whether the request tells its size or not."""
    body = b"x" * 2000
    answer = httpx.post(site.url + "/echo", content=iter([body]) if chunked else body)

    assert 413 == answer.status_code
    assert "too_large" == answer.json()["code"]
    assert 1024 == answer.json()["limit_bytes"]
    assert 1 == site.count("bgem3_rejections_total", reason="too_large")


def test_body_that_stands_still(site: Site) -> None:
    """A caller who sends no more of its body does not hold the service."""
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"nothing of the body arrived for 0.3 s" in answer


def test_caller_who_hangs_up_cancels_its_work(site: Site) -> None:
    """The work ends, what it held is freed, and it is counted as what it was."""
    parts = urlsplit(site.url)
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert site.began.wait(10)
    connection.close()

    assert site.cancelled.wait(10)
    assert site.freed.wait(10)
    # The next one is served.
    assert 200 == httpx.post(site.url + "/echo").status_code
    assert 1 == site.count(
        "bgem3_http_requests_total", route="/slow", dialect="native", status="499"
    )


def test_servers_fault_has_an_id_and_no_reason(site: Site) -> None:
    """The reason is for the log."""
    answer = httpx.post(site.url + "/broken", headers={"X-Request-Id": "abc"})

    assert 500 == answer.status_code
    assert "internal_error" == answer.json()["code"]
    assert "abc" == answer.json()["request_id"]
    assert "request id abc" in answer.json()["error"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_each_dialect_has_its_own_shape(site: Site) -> None:
    """OpenAI's, text-embeddings-inference's and Cohere's clients find their fields."""
    openai = httpx.post(site.url + "/v1/embeddings")
    tei = httpx.post(site.url + "/embed_sparse")
    rerank = httpx.post(site.url + "/v2/rerank")
    native = httpx.post(site.url + "/away")

    assert 429 == openai.status_code
    assert "3" == openai.headers["retry-after"]
    assert {
        "message": "full",
        "type": "rate_limit_error",
        "param": None,
        "code": "busy",
        "request_id": openai.headers["x-request-id"],
        "budget_tokens": 7,
    } == openai.json()["error"]
    assert (424, "Backend") == (tei.status_code, tei.json()["error_type"])
    assert (503, "Triton is away") == (rerank.status_code, rerank.json()["message"])
    assert (503, "Triton is away") == (native.status_code, native.json()["error"])
    assert "1" == native.headers["retry-after"]


def test_answer_that_breaks_in_the_middle_is_cut(site: Site) -> None:
    """A broken answer cannot be taken for a whole one."""
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(site.url + "/half")
