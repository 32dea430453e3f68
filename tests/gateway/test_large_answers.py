"""Large answers: sent in pieces, to slow readers too, while others are served."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from live_service import live_service
from starlette.types import Message

from bgem3_client import FakeTransport
from bgem3_server.gateway.serialization.json import json_response
from bgem3_server.gateway.serialization.pieces import PiecesResponse, response_of
from bgem3_server.gateway.settings import GatewaySettings

# Of the event loop's own time, however busy the machine is; a piece takes some 0.5 ms.
LONGEST_STALL_SECONDS = 0.02
SOCKET_BUFFERS_BYTES = 16 * 1024 * 1024


async def never() -> Message:
    """The caller sends nothing more."""
    return await asyncio.Future()


def test_memory_holds_one_piece_however_slow_the_reader() -> None:
    """A piece is made when the one before is gone."""
    made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for _ in range(50):
            made += 1
            yield b"x" * 200_000

    ahead: list[int] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(0.001)
        if body := message.get("body"):
            nonlocal sent
            sent += len(body) // 200_000
            ahead.append(made - sent)

    sent = 0
    response = response_of(pieces(), "text/plain")
    asyncio.run(response({"type": "http"}, never, slow))

    assert 50 == sent
    assert max(ahead) <= 1  # two are made before the answer begins, to know that it is large


def test_others_are_served_while_a_large_answer_is_made() -> None:
    """100 MB of token vectors, and a reader that is never slow."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((6000, 1024), dtype=np.float32) / 32
    response = json_response({"colbert_embeddings": [matrix]})
    sent_bytes = 0
    stalls: list[float] = []
    done = False

    async def fast(message: Message) -> None:
        nonlocal sent_bytes
        sent_bytes += len(message.get("body", b""))

    async def heartbeat() -> None:
        while not done:
            began = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - began)

    async def main() -> None:
        nonlocal done
        beating = asyncio.create_task(heartbeat())
        await response({"type": "http"}, never, fast)
        done = True
        await beating

    asyncio.run(main())

    assert isinstance(response, PiecesResponse)
    assert sent_bytes > 95_000_000
    assert len(stalls) > 100
    assert max(stalls) < LONGEST_STALL_SECONDS


@pytest.fixture(scope="module")
def wide_service() -> Iterator[str]:
    """The URL of a service over a fake transport with BGE-M3's sizes."""
    with live_service(GatewaySettings(), FakeTransport(colbert_size=1024)) as url:
        yield url


def test_a_slow_reader_gets_everything_and_holds_up_nobody(wide_service: str) -> None:
    """32 MB, of which nothing is read until others have been answered."""
    host, port = wide_service.removeprefix("http://").split(":")
    body = json.dumps({"texts": ["word " * 2000], "mode": "colbert"}).encode()
    head = (
        f"POST /embed HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as slow, httpx.Client() as quick:
        slow.sendall(head.encode() + body)
        slow.recv(1)
        for _ in range(20):
            answer = quick.post(f"{wide_service}/embed", json={"texts": ["quick"]}, timeout=5)
            assert 200 == answer.status_code
        received = bytearray()
        while part := slow.recv(1024 * 1024):
            received += part

    assert len(received) > SOCKET_BUFFERS_BYTES
    assert received.endswith(b"\r\n0\r\n\r\n")  # the last chunk: the answer is whole
