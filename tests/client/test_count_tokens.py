"""Numbers of tokens: requests, order, limits and errors, over every protocol."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web
from fake_triton import SERVERS, Behaviour
from live_service import live_service

from bgem3_client import (
    AsyncClient,
    Client,
    ContractError,
    DeadlineError,
    FakeTransport,
    InternalServerError,
    InvalidInputError,
    Limits,
    RetryPolicy,
    UnavailableError,
)
from bgem3_client.transports import InferResponse
from bgem3_server.gateway.settings import GatewaySettings

TEXTS = ["one two", "", "zwölf 😀 \n", "word " * 10_000]
COUNTS = [4, 2, 4, 10_002]
QUICK_RETRIES = RetryPolicy(attempts=2, initial_backoff_seconds=0.001)


def count(transport, texts, **options):
    """Count over a fake transport."""
    with Client(transport=transport, retries=QUICK_RETRIES, **options) as client:
        return client.count_tokens(texts)


def test_special_tokens_count_and_nothing_is_cut():
    """A text above the 8,192 tokens that the model takes has its own length."""
    counts = count(FakeTransport(), TEXTS)

    assert (np.int32, (4,), COUNTS) == (counts.dtype, counts.shape, counts.tolist())


def test_only_lengths_are_asked_for():
    """So that Triton runs the tokenizer alone."""
    transport = FakeTransport()
    count(transport, TEXTS)

    assert [["full_token_lengths"]] * len(transport.requests) == [
        [output.name for output in request.outputs] for request in transport.requests
    ]


def test_many_texts_travel_by_the_limits_and_come_back_in_order():
    """As many requests as the limits say; what is long counts as long, and goes alone."""
    texts = ["x " * (number % 7) for number in range(50)] + ["word " * 10_000, "x"]
    transport = FakeTransport(script=[UnavailableError("busy")])

    counts = count(
        transport, texts, limits=Limits(max_texts_per_request=9, max_tokens_per_request=30_000)
    )

    assert [len(text.split()) + 2 for text in texts] == counts.tolist()
    sizes = sorted(len(request.texts) for request in transport.requests)
    # One was sent twice.
    assert [1, 1, 5, 9, 9, 9, 9, 9, 9] == sizes


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_counts_come_from_triton(protocol):
    """Over both of its protocols, with the headers of the call."""
    behaviour = Behaviour()

    async def main():
        async with SERVERS[protocol](behaviour) as url, AsyncClient(url) as client:
            return await client.count_tokens(TEXTS, headers={"x-one": "1"})

    assert COUNTS == asyncio.run(main()).tolist()
    assert "1" == {k.lower(): v for k, v in behaviour.headers[0].items()}["x-one"]


def test_counts_come_from_the_service():
    """Exact too, where a text is longer than the model takes."""
    with live_service(GatewaySettings(), FakeTransport()) as http_url:
        url = http_url.replace("http://", "bgem3://")
        with Client(url) as client:
            counts = client.count_tokens(TEXTS)
        with (
            Client(url, model_version="1") as client,
            pytest.raises(InvalidInputError, match="model_version"),
        ):
            client.count_tokens(["a"])

    assert COUNTS == counts.tolist()


@asynccontextmanager
async def answering(status, content):
    """A service that gives everybody the same; its address."""

    async def handle(request):
        return web.Response(status=status, body=content)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"bgem3://localhost:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (200, {}, ContractError),
        (200, {"token_lengths": [3]}, ContractError),
        (200, {"token_lengths": ["many", "few"]}, ContractError),
        # A service of an earlier release.
        (404, {"error": "nothing at /count_tokens", "code": "not_found"}, ContractError),
        (422, {"error": "wrong", "code": "invalid_input", "index": 1}, InvalidInputError),
        (500, {"error": "broken", "code": "internal_error"}, InternalServerError),
    ],
)
def test_what_the_service_says_instead(status, content, expected):
    """Answers that are none, and refusals."""

    async def main():
        async with (
            answering(status, json.dumps(content).encode()) as url,
            AsyncClient(url, retries=QUICK_RETRIES) as client,
        ):
            await client.count_tokens(["a", "b"])

    with pytest.raises(expected) as caught:
        asyncio.run(main())

    assert expected is type(caught.value)


@pytest.mark.parametrize("texts", ["a text", [], ["a", 1], ["a", "\ud800"], {"a"}])
def test_what_is_no_list_of_texts_is_refused(texts):
    """As `encode` refuses it, before anything is sent."""
    transport = FakeTransport()

    with pytest.raises(InvalidInputError):
        count(transport, texts)

    assert [] == transport.requests


def test_refused_text_is_named_by_its_place_in_the_call():
    """Whatever request it was in."""
    script = [None, InvalidInputError("not UTF-8", index=1)]

    with pytest.raises(InvalidInputError, match="not UTF-8") as caught:
        count(
            FakeTransport(script=script),
            ["a"] * 8,
            limits=Limits(max_in_flight=1, max_texts_per_request=3),
        )

    assert 4 == caught.value.index


def test_deadline_holds():
    """For the whole call."""
    with (
        Client(transport=FakeTransport(delay_seconds=5)) as client,
        pytest.raises(DeadlineError),
    ):
        client.count_tokens(["a"], timeout_seconds=0.05)


def test_impossible_lengths_are_a_contract_error():
    """A text has the special tokens at least."""
    lengths = np.array([[0]], dtype=np.int32)
    script = [InferResponse({"full_token_lengths": lengths}, "1")]

    with pytest.raises(ContractError, match="not possible"):
        count(FakeTransport(script=script), ["a"])
