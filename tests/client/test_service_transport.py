"""The way through the HTTP service: what is sent, what comes back, what each failure becomes."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from aiohttp import web
from live_service import live_service

from bgem3_client import (
    TLS,
    AccessError,
    AsyncClient,
    BgeM3Error,
    Client,
    ClientClosedError,
    ContractError,
    DeadlineError,
    FakeTransport,
    InternalServerError,
    InvalidInputError,
    Limits,
    ModelInfo,
    ModelNotFoundError,
    NotFiniteError,
    RetryPolicy,
    ServerOutOfMemoryError,
    UnavailableError,
)
from bgem3_client.transports.service import SERVER_ERRORS
from bgem3_server.gateway.settings import GatewaySettings

ONCE = RetryPolicy(attempts=1)
TEXTS = ["one two", "", "zwölf 😀 \n", "a b c d e f"]


@dataclass
class Answer:
    """What the server answers, and what it was asked."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    requests: list[tuple[dict, dict]] = field(default_factory=list)


@asynccontextmanager
async def serving(answer, ssl_context=None):
    """Answer everything with the same; yield the address."""

    async def handle(request):
        answer.requests.append((dict(request.headers), json.loads(await request.text() or "{}")))
        await asyncio.sleep(answer.delay_seconds)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
    await site.start()
    scheme = "bgem3" if ssl_context is None else "bgem3s"
    try:
        yield f"{scheme}://localhost:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


def encode_from(answer, *, retries=ONCE, ssl_context=None, **options):
    """Ask such a server for one text's vector."""

    async def main():
        async with (
            serving(answer, ssl_context) as url,
            AsyncClient(url, retries=retries, **options) as client,
        ):
            return await client.encode(["a"])

    return asyncio.run(main())


def problem(code, message="because", **more):
    """Return a body as the service words it."""
    return json.dumps({"error": message, "code": code, "request_id": "1", **more}).encode()


@pytest.fixture(scope="module")
def url():
    """The real service, over the fake transport."""
    with live_service(GatewaySettings(), FakeTransport()) as url:
        yield url.replace("http://", "bgem3://")


@pytest.mark.parametrize("colbert_dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "outputs", [{"dense"}, {"sparse"}, {"colbert"}, {"dense", "sparse", "colbert"}]
)
def test_all_outputs_survive_the_way(url, outputs, colbert_dtype):
    """What Triton answers is what comes out, to the bit."""
    options = {"max_length": 6, "return_tokens": True, "colbert_dtype": colbert_dtype}
    with Client(transport=FakeTransport()) as client:
        expected = client.encode(TEXTS, outputs, **options)

    with Client(url) as client:
        received = client.encode(TEXTS, outputs, **options)

    assert expected.tokens == received.tokens
    assert expected.token_lengths.tolist() == received.token_lengths.tolist()
    assert [False, False, False, True] == received.truncated.tolist()
    assert expected.model_version == received.model_version
    if "dense" in outputs:
        np.testing.assert_array_equal(expected.dense, received.dense)
    if "sparse" in outputs:
        assert [row.tokens() for row in expected.sparse] == [
            row.tokens() for row in received.sparse
        ]
        assert [row.as_dict() for row in expected.sparse] == [
            row.as_dict() for row in received.sparse
        ]
    if "colbert" in outputs:
        np.testing.assert_array_equal(expected.colbert.vectors, received.colbert.vectors)
        assert colbert_dtype == received.colbert.vectors.dtype


def test_many_requests_come_back_in_order(url):
    """Cut by the client's limits, several at once."""
    texts = [f"text number {number}" for number in range(100)]
    with Client(transport=FakeTransport()) as client:
        expected = client.encode(texts).dense

    with Client(url, limits=Limits(max_texts_per_request=7)) as client:
        received = client.encode(texts).dense

    np.testing.assert_array_equal(expected, received)


def test_compute_score_works_through_the_service(url):
    """All that is built on encode does."""
    pairs = [("reset password", "reset my password"), ("reset password", "sunny weather")]
    with Client(transport=FakeTransport()) as client:
        expected = client.compute_score(pairs)

    with Client(url) as client:
        received = client.compute_score(pairs)

    assert expected == received


def test_refused_text_is_named_among_all(url):
    """The service counts within a request, the caller's index is of all texts."""
    with (
        Client(url, limits=Limits(max_texts_per_request=2)) as client,
        pytest.raises(InvalidInputError, match="max_length is 4") as caught,
    ):
        client.encode(["a"] * 5 + ["a b c d"], max_length=4, truncate=False)

    assert 5 == caught.value.index


def test_unknown_model_is_not_found(url):
    """The message names those that there are."""
    with Client(url, model="other") as client, pytest.raises(ModelNotFoundError, match="bge_m3"):
        client.encode(["a"])


def test_model_info_is_read_from_health(url):
    """The sizes and the version that answers; the first probe must have been through."""
    with Client(url) as client:
        client.wait_until_ready(10)
        deadline_seconds = time.monotonic() + 10
        info = None
        while info is None and time.monotonic() < deadline_seconds:
            try:
                info = client.model_info()
            except (UnavailableError, ContractError):
                time.sleep(0.1)

    assert ModelInfo("bge_m3", ("1",), 16, 16) == info


def test_what_the_service_does_not_offer_is_said(url):
    """With where to find it."""
    with Client(url) as client, pytest.raises(InvalidInputError, match="grpc://"):
        client.encode(["a"], return_hidden_states=True)
    with Client(url, model_version="1") as client, pytest.raises(InvalidInputError, match="grpc:"):
        client.encode(["a"])
    with pytest.raises(InvalidInputError, match="shared_memory_bytes"):
        AsyncClient(url, shared_memory_bytes=1024)


def test_triton_s_protocol_is_sent_elsewhere(url):
    """Who takes the service for Triton is told its address."""
    with (
        Client(url.replace("bgem3://", "http://"), retries=ONCE) as client,
        pytest.raises(UnavailableError, match="bgem3://"),
    ):
        client.encode(["a"])


def test_key_deadline_and_call_headers_are_sent():
    """And nothing asks for compression."""
    answer = Answer(status=500)

    async def main():
        async with (
            serving(answer) as url,
            AsyncClient(url, retries=ONCE, headers={"Authorization": "Bearer k"}) as client,
        ):
            with pytest.raises(InternalServerError):
                await client.encode(["ü"], headers={"X-Priority": "bulk"}, timeout_seconds=7)

    asyncio.run(main())

    ((headers, body),) = answer.requests
    sent = {name.lower(): value for name, value in headers.items()}
    assert ("Bearer k", "bulk") == (sent["authorization"], sent["x-priority"])
    assert ("identity", "application/x-npz") == (sent["accept-encoding"], sent["accept"])
    assert 6 < float(sent["x-timeout-seconds"]) <= 7
    assert ["ü"] == body["texts"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *SERVER_ERRORS.items(),
        (400, InvalidInputError),
        (413, InvalidInputError),
        (422, InvalidInputError),
        (301, ContractError),
        (404, ContractError),
        (406, ContractError),
        (501, InternalServerError),
    ],
)
def test_status_becomes_its_error(status, expected):
    """With the service's message."""
    answer = Answer(status, problem("whatever"), {"Location": "/"} if status == 301 else {})

    with pytest.raises(BgeM3Error, match="because") as caught:
        encode_from(answer)

    assert expected is type(caught.value)
    assert 1 == len(answer.requests)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "model_not_found", ModelNotFoundError),
        (503, "out_of_memory", ServerOutOfMemoryError),
        (503, "not_ready", UnavailableError),
        (500, "not_finite", NotFiniteError),
    ],
)
def test_code_tells_apart_what_shares_a_status(status, code, expected):
    """A request that is too much for the memory is not sent again, one that comes too early is."""
    with pytest.raises(BgeM3Error, match="because") as caught:
        encode_from(Answer(status, problem(code)))

    assert expected is type(caught.value)


def test_page_of_a_proxy_is_shown_in_part():
    """It is not the service's; its status is all there is to go by."""
    with pytest.raises(UnavailableError, match="<html>Bad Gateway") as caught:
        encode_from(Answer(502, b"<html>Bad Gateway" + b"." * 10_000))

    assert len(str(caught.value)) < 300


def test_busy_service_is_asked_again_when_it_says():
    """Not before, and the caller is told how long it would have taken."""
    answer = Answer(429, problem("busy"), {"Retry-After": "1"})
    started = time.monotonic()

    with pytest.raises(UnavailableError, match="tried 2 times") as caught:
        encode_from(answer, retries=RetryPolicy(attempts=2, initial_backoff_seconds=0.001))

    assert 1 <= time.monotonic() - started < 3
    assert 2 == len(answer.requests)
    assert 1 == caught.value.retry_after_seconds


def test_deadline_before_there_is_room_is_not_waited_for():
    """The error comes at once, with what the service said."""
    answer = Answer(429, problem("busy"), {"Retry-After": "60"})
    started = time.monotonic()

    with pytest.raises(UnavailableError, match="because"):
        encode_from(answer, retries=RetryPolicy(), timeout_seconds=5)

    assert time.monotonic() - started < 3
    assert 1 == len(answer.requests)


@pytest.mark.parametrize("body", [b"", b"<html>welcome</html>", b"PK\x03\x04broken", b"[]"])
def test_unreadable_answer_is_a_contract_error(body):
    """Success with a body that is none of the service's."""
    with pytest.raises(ContractError):
        encode_from(Answer(200, body))


def test_late_answer_is_a_deadline_error():
    """However the server behaves."""
    with pytest.raises(DeadlineError):
        encode_from(Answer(delay_seconds=5), timeout_seconds=0.2)


def test_nobody_listening_is_unavailable():
    """Connection refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]

    with (
        Client(f"bgem3://127.0.0.1:{port}", retries=ONCE) as client,
        pytest.raises(UnavailableError, match="service at"),
    ):
        client.encode(["a"])


def test_wrong_key_is_an_access_error():
    """The real service with keys, asked without and with."""
    with live_service(GatewaySettings(api_keys="right"), FakeTransport()) as http_url:
        url = http_url.replace("http://", "bgem3://")
        with Client(url) as client, pytest.raises(AccessError):
            client.encode(["a"])
        with Client(url, headers={"authorization": "Bearer right"}) as client:
            assert (1, 16) == client.encode(["a"]).dense.shape


def test_encrypted_connection_checks_the_certificate(certificate):
    """`bgem3s://` with the authority trusted reaches the server, without it does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trusting = TLS(root_certificates=certificate[0])

    with pytest.raises(InternalServerError):
        encode_from(Answer(500), ssl_context=context, tls=trusting)
    with pytest.raises(UnavailableError):
        encode_from(Answer(500), ssl_context=context)


def test_closing_ends_requests_under_way():
    """With an error that says why."""

    async def main():
        answer = Answer(delay_seconds=30)
        async with serving(answer) as url:
            client = AsyncClient(url)
            call = asyncio.create_task(client.encode(["a"]))
            while not answer.requests:
                await asyncio.sleep(0.01)
            await client.close()
            await call

    with pytest.raises(ClientClosedError):
        asyncio.run(asyncio.wait_for(main(), 10))


def test_service_that_does_not_know_its_model_says_so():
    """A service without probes has no sizes to tell; that is said, and no type error."""
    with (
        live_service(GatewaySettings(ready_interval_seconds=0), FakeTransport()) as http_url,
        Client(http_url.replace("http", "bgem3")) as client,
        pytest.raises(UnavailableError, match="has not asked its model yet"),
    ):
        client.model_info()
