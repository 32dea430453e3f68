"""What the cache of results costs where a text is new, and saves where it comes again.

1. Without Triton: the time that one request takes the service's event loop, with the cache off,
   with a cache that does not have the texts, and with one that has them, in turns. In a list a
   dense text that is new costs at most 20 microseconds more.
2. Through HTTP, with the demo model: queries of which some come again and again (Zipf), sent by 16
   callers, without and with a cache, in turns.

Ends with 1 when the first is missed.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click
import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import (
    COLBERT,
    DENSE,
    FULL_TOKEN_LENGTHS,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_LENGTHS,
)
from bgem3_bench.machine import this_machine
from bgem3_bench.real_texts import real_texts
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import DEMO_NOTE, demo_repository
from bgem3_client.deadline import Deadline
from bgem3_client.encode_request import ALL_OUTPUTS, DENSE_ONLY, EncodeOptions
from bgem3_client.transports import InferRequest, InferResponse, ModelMetadata
from bgem3_server.gateway.calls.call import Call, Priority
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings
from gateway_process import gateway_process

MISS_LIMIT_MICROSECONDS = 20.0

_SIZE = 1024
_CACHE_BYTES = 1 << 30
_CALLERS = 16
_QUERIES = 200
_ZIPF_EXPONENT = 1.1
_WORDS = ("weather", "passage", "tomorrow", "结果", "retrieval", "précis", "vector", "問題")


@dataclass(frozen=True)
class Work:
    """A kind of request: so many texts of so many tokens, for some outputs."""

    name: str
    texts: int
    tokens: int
    options: EncodeOptions


WORK = (
    Work("1 query, dense", 1, 12, EncodeOptions(DENSE_ONLY)),
    Work("64 queries, dense", 64, 12, EncodeOptions(DENSE_ONLY)),
    Work("64 passages, dense", 64, 128, EncodeOptions(DENSE_ONLY)),
    Work("8 passages, all outputs", 8, 128, EncodeOptions(ALL_OUTPUTS)),
)
_LISTS = ("64 queries, dense", "64 passages, dense")


@dataclass(frozen=True)
class Cost:
    """Microseconds a text of the event loop's own time: medians of requests in turns."""

    work: str
    off: float
    miss: float
    hit: float


@dataclass(frozen=True)
class Load:
    """Repeated queries through HTTP: medians of the rounds."""

    queries_per_second: float
    p50_milliseconds: float
    p95_milliseconds: float
    hit_rate: float


@click.command()
@click.option("--turns", type=click.IntRange(10), default=100, show_default=True)
@click.option("--queries", type=click.IntRange(100), default=1000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(turns: int, queries: int, rounds: int) -> None:
    """Measure the cache of results."""
    repository = demo_repository()
    costs = [asyncio.run(_cost(work, turns, repository)) for work in WORK]
    loads = _loads(repository, queries, rounds)

    click.echo(f"{this_machine()}\n\nWithout Triton, vectors of {_SIZE}; µs a text\n")
    click.echo(
        markdown_table(
            ("request", "cache off", "not in the cache", "more", "in the cache"),
            [
                (
                    cost.work,
                    *(f"{us:.0f}" for us in (cost.off, cost.miss, cost.miss - cost.off, cost.hit)),
                )
                for cost in costs
            ],
        )
    )
    click.echo(f"\n{DEMO_NOTE}; {_QUERIES} queries, Zipf {_ZIPF_EXPONENT}, {_CALLERS} callers\n")
    click.echo(
        markdown_table(
            ("cache", "queries a second", "p50 ms", "p95 ms", "hit rate"),
            [
                (
                    name,
                    f"{load.queries_per_second:.0f}",
                    f"{load.p50_milliseconds:.1f}",
                    f"{load.p95_milliseconds:.1f}",
                    f"{load.hit_rate:.2f}",
                )
                for name, load in loads.items()
            ],
        )
    )
    more = max(cost.miss - cost.off for cost in costs if cost.work in _LISTS)
    passed = more <= MISS_LIMIT_MICROSECONDS
    click.echo(
        f"\na dense text that is new costs {more:.0f} µs more in a list (at most "
        f"{MISS_LIMIT_MICROSECONDS:.0f}): {'passed' if passed else 'MISSED'}"
    )
    write_json(
        output_directory() / "result-cache.json",
        {
            "costs_microseconds": [asdict(cost) for cost in costs],
            "loads": {name: asdict(load) for name, load in loads.items()},
        },
    )
    sys.exit(not passed)


async def _cost(work: Work, turns: int, repository: Path) -> Cost:
    """Send requests of one kind to three services without Triton, in turns."""
    numbers = itertools.count()
    gateways = {
        name: Gateway.assemble(
            GatewaySettings(tokenizer=repository, cache_bytes=cache_bytes), _Instant(work)
        )
        for name, cache_bytes in (("off", 0), ("miss", _CACHE_BYTES), ("hit", _CACHE_BYTES))
    }
    known = _texts(work, numbers)
    seconds: dict[str, list[float]] = {name: [] for name in gateways}
    gc.collect()
    gc.disable()
    for turn in range(turns + 5):
        for name in sorted(gateways, reverse=turn % 2 == 0):
            texts = known if name == "hit" else _texts(work, numbers)
            deadline = Deadline.after(60)
            call = Call("benchmark", Dialect.NATIVE, deadline, Priority.INTERACTIVE)
            # The event loop's own thread: what others do on the machine counts less.
            began = time.thread_time()
            await gateways[name].encoder.encode(texts, work.options, call)
            call.finish.close()
            if turn >= 5:
                seconds[name].append(time.thread_time() - began)
    gc.enable()
    for gateway in gateways.values():
        await gateway.client.close()
    return Cost(
        work.name,
        **{name: statistics.median(taken) / work.texts * 1e6 for name, taken in seconds.items()},
    )


def _texts(work: Work, numbers: itertools.count[int]) -> list[str]:
    """Texts of about the right length, none of which was there before."""
    words = [_WORDS[place % len(_WORDS)] for place in range(work.tokens // 2)]
    return [" ".join([str(next(numbers)), *words]) for _ in range(work.texts)]


class _Instant:
    """A transport whose answers cost nothing: what remains is the service's own work."""

    def __init__(self, work: Work) -> None:
        random = np.random.default_rng(0)
        texts, rows = work.texts, work.tokens - 1
        colbert_rows = rows if "colbert" in work.options.outputs else 0
        lengths = np.full(texts, work.tokens, np.int32)
        # By text, so that any number of texts can be answered.
        self._tensors: dict[str, NDArray[Any]] = {
            TOKEN_LENGTHS.name: lengths,
            FULL_TOKEN_LENGTHS.name: lengths,
            DENSE.name: random.standard_normal((texts, _SIZE), np.float32),
            SPARSE_INDICES.name: random.integers(4, 250_000, (texts, rows), np.int32),
            SPARSE_VALUES.name: random.random((texts, rows), np.float32),
            SPARSE_LENGTHS.name: lengths - 1,
            COLBERT.name: random.standard_normal((texts, colbert_rows, _SIZE), np.float32),
        }

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer what is asked for, always the same."""
        tensors = {}
        for output in request.outputs:
            rows = self._tensors[output.name][: len(request.texts)]
            width = rows.shape[-1:] if len(output.dims) > 1 else ()
            tensors[output.name] = rows.reshape(1, -1, *width)
        return InferResponse(tensors, "1")

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """Return BGE-M3's sizes."""
        shape = (-1, -1, _SIZE)
        return ModelMetadata(model, ("1",), {DENSE.name: shape, COLBERT.name: shape})

    async def close(self) -> None:
        """Nothing to let go of."""


def _loads(repository: Path, count: int, rounds: int) -> dict[str, Load]:
    """Send the same queries to a service without and to one with a cache, in turns."""
    short = sorted(real_texts(), key=len)[:_QUERIES]
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, len(short) + 1) ** _ZIPF_EXPONENT
    settings = ServeSettings(grpc_port=0, http_port=0, metrics_port=0, probe_interval_seconds=0)
    measured: dict[str, list[Load]] = {"off": [], "on": []}
    with running_triton(repository, settings) as addresses:
        for number in range(rounds):
            queries = random.choice(short, count, p=weights / weights.sum()).tolist()
            for name in sorted(measured, reverse=number % 2 == 0):
                service = GatewaySettings(
                    triton=addresses.grpc,
                    tokenizer=repository,
                    cache_bytes=_CACHE_BYTES if name == "on" else 0,
                )
                with gateway_process(service) as gateway:
                    measured[name].append(asyncio.run(_load(gateway.url, queries)))
    return {
        name: Load(*(float(figure) for figure in np.median([*map(_figures, loads)], axis=0)))
        for name, loads in measured.items()
    }


def _figures(load: Load) -> tuple[float, ...]:
    return tuple(asdict(load).values())


async def _load(url: str, queries: Sequence[str]) -> Load:
    """Send queries from several callers at once."""
    seconds: list[float] = []
    hits = 0
    async with aiohttp.ClientSession() as session:

        async def send(query: str) -> None:
            nonlocal hits
            began = time.perf_counter()
            async with session.post(f"{url}/embed", json={"texts": [query]}) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise click.ClickException(f"{answer.status}: {body[:300]!r}")
                hits += answer.headers.get("Cache-Status") == "bgem3; hit"
            seconds.append(time.perf_counter() - began)

        async def work() -> None:
            for query in waiting:
                await send(query)

        # A query that is not one of those measured: connections, and the code's first way.
        await send("warm-up")
        seconds.clear()
        waiting = iter(queries)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLERS):
                group.create_task(work())
        took = time.perf_counter() - began
    p50, p95 = np.percentile(seconds, [50, 95]) * 1e3
    return Load(len(queries) / took, float(p50), float(p95), hits / len(queries))


if __name__ == "__main__":
    main()
