"""What the HTTP service costs: against Triton by gRPC, and alone with the trunk left out.

* One short text, dense: the service and Triton by gRPC in turns; at most 2 ms more at the median.
* Passages, dense, 64 at a time: the service and Triton by gRPC in turns; at most 10% slower.
* One process of the service without a trunk: at least 500 short requests a second.

Ends with 1 when one of them is missed.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import click
import numpy as np

from bgem3_bench.machine import this_machine
from bgem3_bench.real_texts import real_texts
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import DEMO_NOTE, demo_repository
from bgem3_client import AsyncClient, Limits
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings
from gateway_process import gateway_process

LATENCY_LIMIT_MILLISECONDS = 2.0
THROUGHPUT_LIMIT = 0.9
REQUESTS_PER_SECOND_LIMIT = 500

_TEXT = "How do I reset my WeChat Pay password?"
_CONCURRENCY = 64
_WARM_UP_REQUESTS = 50
# A passage of a retrieval system, in characters.
_PASSAGE_CHARACTERS = (150, 1500)

Send = Callable[[str], Awaitable[None]]


@click.command()
@click.option("--requests", type=click.IntRange(10), default=300, show_default=True)
@click.option("--passages", type=click.IntRange(64), default=512, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A model repository; by default one of the demo model.",
)
def main(requests: int, passages: int, rounds: int, repository: Path | None) -> None:
    """Measure what the HTTP service adds to Triton."""
    served = repository or demo_repository()
    triton_settings = ServeSettings(
        grpc_port=0, http_port=0, metrics_port=0, probe_interval_seconds=0
    )
    with running_triton(served, triton_settings) as addresses:
        settings = GatewaySettings(triton=addresses.grpc, tokenizer=served)
        with gateway_process(settings) as gateway:
            latency = asyncio.run(_latencies(addresses.grpc, gateway.url, requests))
            rates = asyncio.run(
                _throughputs(addresses.grpc, gateway.url, _passages(passages), rounds)
            )
    with gateway_process(GatewaySettings(tokenizer=served), without_trunk=True) as gateway:
        alone = asyncio.run(_alone(gateway.url))

    added = (statistics.median(latency["service"]) - statistics.median(latency["gRPC"])) * 1e3
    ratio = statistics.median(a / b for a, b in zip(rates["service"], rates["gRPC"], strict=True))
    results = {
        f"one short text adds {added:.2f} ms at p50 (at most {LATENCY_LIMIT_MILLISECONDS})": (
            added <= LATENCY_LIMIT_MILLISECONDS
        ),
        f"passages, {_CONCURRENCY} at a time: {ratio:.2f} of gRPC's rate (at least "
        f"{THROUGHPUT_LIMIT})": ratio >= THROUGHPUT_LIMIT,
        f"one process without a trunk: {alone:.0f} short requests a second (at least "
        f"{REQUESTS_PER_SECOND_LIMIT})": alone >= REQUESTS_PER_SECOND_LIMIT,
    }
    click.echo(f"{DEMO_NOTE if repository is None else repository}; {this_machine()}\n")
    click.echo(
        markdown_table(
            (
                "dense",
                "one short text, p50 ms",
                "p95 ms",
                f"passages a second, {_CONCURRENCY} at a time",
            ),
            [
                (
                    name,
                    *(f"{value * 1e3:.2f}" for value in np.percentile(latency[name], [50, 95])),
                    f"{statistics.median(rates[name]):.1f}",
                )
                for name in ("gRPC", "service")
            ],
        )
    )
    click.echo()
    for sentence, passed in results.items():
        click.echo(f"{sentence}: {'passed' if passed else 'MISSED'}")
    write_json(
        output_directory() / "gateway-overhead.json",
        {
            "latency_seconds": {name: list(values) for name, values in latency.items()},
            "passages_per_second": rates,
            "requests_per_second_without_trunk": alone,
            "results": results,
        },
    )
    sys.exit(not all(results.values()))


def _passages(count: int) -> list[str]:
    low, high = _PASSAGE_CHARACTERS
    texts = [text for text in real_texts() if low <= len(text) <= high]
    # No two of them equal: the service computes equal texts once.
    return [f"{number} {texts[number % len(texts)]}" for number in range(count)]


async def _latencies(target: str, url: str, count: int) -> dict[str, list[float]]:
    """Seconds of single requests, sent in turns."""
    seconds: dict[str, list[float]] = {"gRPC": [], "service": []}
    async with AsyncClient(target) as client, aiohttp.ClientSession() as session:
        sends = {"gRPC": _by_grpc(client), "service": _by_http(session, url)}
        gc.disable()
        for number in range(_WARM_UP_REQUESTS + count):
            for name in sorted(sends, reverse=number % 2 == 0):
                began = time.perf_counter()
                await sends[name](_TEXT)
                if number >= _WARM_UP_REQUESTS:
                    seconds[name].append(time.perf_counter() - began)
        gc.enable()
    return seconds


async def _throughputs(
    target: str, url: str, texts: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Passages a second with many requests of one passage at once, in turns."""
    rates: dict[str, list[float]] = {"gRPC": [], "service": []}
    limits = Limits(max_in_flight=_CONCURRENCY)
    connector = aiohttp.TCPConnector(limit=_CONCURRENCY)
    async with (
        AsyncClient(target, limits=limits) as client,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        sends = {"gRPC": _by_grpc(client), "service": _by_http(session, url)}
        for number in range(rounds):
            for name in sorted(sends, reverse=number % 2 == 0):
                await _send_all(sends[name], texts[:_CONCURRENCY])
                began = time.perf_counter()
                await _send_all(sends[name], texts)
                rates[name].append(len(texts) / (time.perf_counter() - began))
    return rates


async def _alone(url: str, count: int = 3000) -> float:
    """Short requests a second."""
    connector = aiohttp.TCPConnector(limit=_CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:
        send = _by_http(session, url)
        await _send_all(send, [f"{_TEXT} {number}" for number in range(500)])
        began = time.perf_counter()
        await _send_all(send, [f"{_TEXT} {number}" for number in range(count)])
        return count / (time.perf_counter() - began)


async def _send_all(send: Send, texts: Sequence[str]) -> None:
    waiting = iter(texts)

    async def work() -> None:
        for text in waiting:
            await send(text)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENCY):
            group.create_task(work())


def _by_grpc(client: AsyncClient) -> Send:
    async def send(text: str) -> None:
        await client.encode([text])

    return send


def _by_http(session: aiohttp.ClientSession, url: str) -> Send:
    async def send(text: str) -> None:
        async with session.post(f"{url}/embed", json={"texts": [text]}) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise click.ClickException(f"{answer.status}: {body[:300]!r}")

    return send


if __name__ == "__main__":
    main()
