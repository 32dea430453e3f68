"""The HTTP service under a load that wishes it ill, and interactive requests beside bulk ones.

1. Interactive requests alone, then beside a bulk client that keeps the server saturated: the
   99th percentile may grow three times. With the trunk's engine that is chosen here.
2. Thousands of requests from 200 connections: valid, invalid, given up half-way, with deadlines
   too short, over the budget. Each must be answered rightly or refused with the status that
   belongs to it, and the service's memory must stay flat. In FP32.

Ends with 1 when one of them is missed.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import click
import numpy as np
import orjson
import psutil
from numpy.typing import NDArray

from bgem3_bench.machine import this_machine
from bgem3_bench.real_texts import real_texts
from bgem3_bench.reports import output_directory, write_json
from bgem3_bench.repositories import DEMO_NOTE, demo_repository
from bgem3_client import Client
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings
from gateway_process import GatewayProcess, gateway_process

LATENCY_FACTOR_LIMIT = 3.0
MEMORY_GROWTH_LIMIT = 1.15
# From the same text alone, through gRPC.
DIFFERENCE_LIMIT = 1e-4

_CONNECTIONS = 200
_BUDGET_TOKENS = 40_000
_POOL_TEXTS = 120
_QUERY_INTERVAL_SECONDS = 0.1
# The service's event loop counts milliseconds.
_CLOCK_SECONDS = 0.002
# What a caller with an acceptable request may be told under load.
_BUSY = {429, 503, 504}


@dataclass
class Tally:
    """What came of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def expect(self, kind: str, status: int, allowed: set[int], body: bytes) -> None:
        """Count an answer, and keep it when it should not have been given."""
        self.outcomes[f"{kind} {status}"] += 1
        if status not in allowed:
            self.wrong.append(f"{kind}: {status} {body[:200]!r}")


@dataclass(frozen=True)
class Pool:
    """Texts, and the vectors that each has alone."""

    texts: list[str]
    dense: NDArray[np.float32]


@click.command()
@click.option("--requests", type=click.IntRange(100), default=10_000, show_default=True)
@click.option(
    "--seconds",
    type=click.IntRange(5),
    default=30,
    show_default=True,
    help="Of each half of part 1.",
)
@click.option("--seed", default=20_26, show_default=True)
def main(requests: int, seconds: int, seed: int) -> None:
    """Load the service with the demo model behind it."""
    repository = demo_repository()
    with _service(repository) as (gateway, pool, _):
        alone, beside = asyncio.run(_interactive(gateway.url, pool, seconds))
    # Every answer is compared with the text's own, and BF16 rounds by the batch that a text is in.
    with (
        patch.dict(os.environ, BGEM3_TRUNK_ENGINE="openvino-fp32"),
        _service(repository) as (gateway, pool, client),
    ):
        tally, memory = asyncio.run(_mixed(gateway, pool, requests, seed))
        after = client.encode(pool.texts[:1]).dense[0]

    factor = float(np.percentile(beside, 99) / np.percentile(alone, 99))
    quarter = len(memory) // 4
    early, late = max(memory[:quarter]), max(memory[quarter:])
    drift = float(np.abs(after - pool.dense[0]).max())
    results = {
        f"interactive p99 {np.percentile(alone, 99) * 1e3:.0f} ms alone, "
        f"{np.percentile(beside, 99) * 1e3:.0f} ms beside bulk: {factor:.1f} times (at most "
        f"{LATENCY_FACTOR_LIMIT})": factor <= LATENCY_FACTOR_LIMIT,
        f"{sum(tally.outcomes.values())} requests, {len(tally.wrong)} answered wrongly": (
            not tally.wrong and sum(tally.outcomes.values()) == requests
        ),
        f"memory at most {early >> 20} MiB in the first quarter, {late >> 20} MiB after it": (
            late <= early * MEMORY_GROWTH_LIMIT
        ),
        f"Triton answers as before (difference {drift:.1e})": drift <= DIFFERENCE_LIMIT,
    }
    click.echo(f"{DEMO_NOTE}; {this_machine()}\n")
    for outcome, count in sorted(tally.outcomes.items()):
        click.echo(f"{count:6} {outcome}")
    for line in tally.wrong[:20]:
        click.echo(f"WRONG {line}")
    click.echo()
    for sentence, passed in results.items():
        click.echo(f"{sentence}: {'passed' if passed else 'MISSED'}")
    write_json(
        output_directory() / "load-test.json",
        {
            "interactive_alone_seconds": alone,
            "interactive_beside_bulk_seconds": beside,
            "outcomes": dict(tally.outcomes),
            "wrong": tally.wrong,
            "memory_bytes": memory,
            "results": results,
        },
    )
    sys.exit(not all(results.values()))


@contextmanager
def _service(repository: Path) -> Iterator[tuple[GatewayProcess, Pool, Client]]:
    """The service before a Triton of its own, texts with the vectors they have alone, a client."""
    triton_settings = ServeSettings(grpc_port=0, http_port=0, metrics_port=0)
    with running_triton(repository, triton_settings) as addresses, Client(addresses.grpc) as client:
        texts = [text for text in real_texts() if len(text) < 1500][:_POOL_TEXTS]
        pool = Pool(texts, np.concatenate([client.encode([text]).dense for text in texts]))
        settings = GatewaySettings(
            triton=addresses.grpc, tokenizer=repository, max_load_tokens=_BUDGET_TOKENS
        )
        with gateway_process(settings) as gateway:
            yield gateway, pool, client


async def _interactive(url: str, pool: Pool, seconds: int) -> tuple[list[float], list[float]]:
    """Latencies of single short texts, sent at a steady pace: alone, and beside bulk requests."""
    queries = sorted(pool.texts, key=len)[: _POOL_TEXTS // 2]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _steady(session, url, queries, 3)
        alone = await _steady(session, url, queries, seconds)
        bulk = [asyncio.create_task(_saturate(session, url, pool)) for _ in range(4)]
        await asyncio.sleep(3)
        beside = await _steady(session, url, queries, seconds)
        for task in bulk:
            task.cancel()
        outcomes = await asyncio.gather(*bulk, return_exceptions=True)
    for outcome in outcomes:
        if not isinstance(outcome, asyncio.CancelledError):
            raise click.ClickException(f"the bulk client stopped: {outcome!r}")
    return alone, beside


async def _steady(
    session: aiohttp.ClientSession, url: str, queries: Sequence[str], seconds: int
) -> list[float]:
    """Send on time, whether earlier answers have come or not."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def send(number: int) -> float:
        due = began + number * _QUERY_INTERVAL_SECONDS
        await asyncio.sleep(due - loop.time())
        sent = time.perf_counter()
        async with session.post(
            f"{url}/embed", json={"texts": [queries[number % len(queries)]]}
        ) as answer:
            await answer.read()
            answer.raise_for_status()
        return time.perf_counter() - sent

    return await asyncio.gather(*map(send, range(int(seconds / _QUERY_INTERVAL_SECONDS))))


async def _saturate(session: aiohttp.ClientSession, url: str, pool: Pool) -> None:
    """One request of many texts after the other, which are computed each time."""
    headers = {"Cache-Control": "no-store"}
    body = {"texts": pool.texts}
    while True:
        async with session.post(f"{url}/embed", json=body, headers=headers) as answer:
            await answer.read()
            answer.raise_for_status()


async def _mixed(
    gateway: GatewayProcess, pool: Pool, requests: int, seed: int
) -> tuple[Tally, list[int]]:
    """Send all kinds of requests from many connections; watch the service's memory."""
    process = psutil.Process(gateway.pid)
    tally, memory = Tally(), [process.memory_info().rss]
    choices = random.Random(seed)
    kinds = choices.choices(list(_KINDS), [weight for _, weight in _KINDS.values()], k=requests)
    waiting = iter(kinds)
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            memory.append(process.memory_info().rss)
            await asyncio.sleep(0.1)

    async def work(session: aiohttp.ClientSession) -> None:
        for kind in waiting:
            await _KINDS[kind][0](session, gateway.url, pool, tally, choices)

    watching = asyncio.create_task(watch())
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=120)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(_CONNECTIONS):
            group.create_task(work(session))
    done.set()
    await watching
    return tally, memory


async def _post(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], **headers: str
) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.post(f"{url}/embed", json=body, headers=named) as answer:
        return answer.status, await answer.read()


async def _valid(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """One to four texts; the vectors must be those of the texts alone."""
    numbers = [choices.randrange(len(pool.texts)) for _ in range(choices.choice([1, 1, 1, 4]))]
    mode = choices.choice(["dense", "dense", ["dense", "sparse"], ["dense", "sparse", "colbert"]])
    body = {
        "texts": [pool.texts[number] for number in numbers],
        "mode": mode,
        "encoding_format": "base64",
    }
    status, answer = await _post(session, url, body)
    tally.expect("valid", status, {200} | _BUSY, answer)
    if status != 200:
        return
    rows = (await asyncio.to_thread(_parse, answer))["embeddings"]
    for number, row in zip(numbers, rows, strict=True):
        vector = np.frombuffer(base64.b64decode(row), np.float32)
        if np.abs(vector - pool.dense[number]).max() > DIFFERENCE_LIMIT:
            tally.wrong.append(f"valid: wrong numbers for {pool.texts[number][:60]!r}")


def _parse(answer: bytes) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(answer)
    return parsed


async def _bulk(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """A list of many texts."""
    body = {"texts": choices.choices(pool.texts, k=40), "encoding_format": "base64"}
    status, answer = await _post(session, url, body, X_Priority="bulk")
    tally.expect("bulk", status, {200} | _BUSY, answer)


async def _invalid(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """Something that the service must refuse as the caller's mistake."""
    body: dict[str, Any] = choices.choice(
        [
            {"texts": []},
            {"texts": "a string"},
            {"texts": [1, 2]},
            {"texts": ["a"], "mode": "dens"},
            {"texts": ["a"], "max_length": 0},
            {"texts": ["a b c d e f g h"], "max_length": 4, "truncate": False},
            {"text": ["a"]},
            {"texts": ["a", "\ud800"]},
            {},
        ]
    )
    status, answer = await _post(session, url, body)
    # A full service says so before it looks at texts.
    tally.expect("invalid", status, {422, 429}, answer)


async def _malformed(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """No JSON at all."""
    data = choices.choice([b"", b"{", b'{"texts": ["\xff"]}', b"\x00" * 100, b"[1, 2", b"null"])
    async with session.post(f"{url}/embed", data=data) as answer:
        tally.expect("malformed", answer.status, {422}, await answer.read())


async def _given_up(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """A caller who hangs up after a moment."""
    body = {"texts": choices.choices(pool.texts, k=20), "mode": ["dense", "sparse", "colbert"]}
    timeout = aiohttp.ClientTimeout(total=choices.uniform(0.001, 0.3))
    try:
        async with session.post(f"{url}/embed", json=body, timeout=timeout) as answer:
            tally.expect("given up", answer.status, {200} | _BUSY, await answer.read())
    except TimeoutError:
        tally.outcomes["given up"] += 1


async def _hurried(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """A deadline that may well be too short."""
    began = time.perf_counter()
    seconds = round(choices.uniform(0.005, 0.5), 3)
    status, answer = await _post(
        session,
        url,
        {"texts": choices.choices(pool.texts, k=4)},
        X_Timeout_Seconds=str(seconds),
    )
    tally.expect("hurried", status, {200} | _BUSY, answer)
    if status == 504 and time.perf_counter() - began < seconds - _CLOCK_SECONDS:
        tally.wrong.append("hurried: 504 before its deadline")


async def _over_budget(
    session: aiohttp.ClientSession, url: str, pool: Pool, tally: Tally, choices: random.Random
) -> None:
    """More than the service ever takes."""
    # Equal texts would be computed, and counted, once.
    texts = [f"{n} {text}" for n, text in enumerate(choices.choices(pool.texts, k=1500))]
    body = {"texts": texts}
    status, answer = await _post(session, url, body)
    tally.expect("over budget", status, {413, 429}, answer)


_KINDS: dict[str, tuple[Any, int]] = {
    "valid": (_valid, 70),
    "bulk": (_bulk, 3),
    "invalid": (_invalid, 10),
    "malformed": (_malformed, 4),
    "given up": (_given_up, 6),
    "hurried": (_hurried, 6),
    "over budget": (_over_budget, 1),
}


if __name__ == "__main__":
    main()
