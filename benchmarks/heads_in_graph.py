"""What it saves to have the heads in the trunk's graph: the profile cpu_heads beside cpu.

Both servers are up, and are asked in turns by gRPC: single texts one after the other, and passages
with 32 requests in flight. Told are the ratios too, since what else a machine does falls on both.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click
import psutil

from bgem3_bench.machine import this_machine
from bgem3_bench.process_memory import process_memory
from bgem3_bench.real_texts import real_text_records
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_bench.repositories import (
    DEMO_NOTE,
    TRUE_SHAPE_NOTE,
    demo_repository,
    true_shape_repository,
)
from bgem3_client import Client
from bgem3_client.encode_request import Output
from bgem3_server.serving import running_triton
from bgem3_server.settings import Profile, ServeSettings

PROFILES: Final[tuple[Profile, ...]] = ("cpu", "cpu_heads")
MODES: Final[dict[str, tuple[Output, ...]]] = {
    "dense": ("dense",),
    "all three": ("dense", "sparse", "colbert"),
}
IN_FLIGHT: Final = 32

_SHORT_TEXT: Final = "How do I reset my WeChat Pay password?"
_WARM_UP_REQUESTS: Final = 20


@dataclass
class Figures:
    """What was measured of one profile.

    Attributes:
        start_seconds: Until all models are ready.
        anonymous_bytes: What Triton and its models hold beside mapped files, before any request.
        latencies: Seconds of single requests, by mode.
        rates: Tokens a second of each round, by mode.
        costs: CPU seconds of Triton and its models for a million tokens, of each round, by mode;
            they say more than the rates where others use the machine.
    """

    start_seconds: float
    anonymous_bytes: int
    latencies: dict[str, list[float]] = field(default_factory=lambda: {mode: [] for mode in MODES})
    rates: dict[str, list[float]] = field(default_factory=lambda: {mode: [] for mode in MODES})
    costs: dict[str, list[float]] = field(default_factory=lambda: {mode: [] for mode in MODES})


@dataclass(frozen=True)
class Served:
    """A server of one profile: Triton and its models."""

    client: Client
    processes: frozenset[psutil.Process]
    figures: Figures

    def cpu_seconds(self) -> float:
        """What all of them have used so far."""
        times = [process.cpu_times() for process in self.processes]
        return sum(time.user + time.system for time in times)


@click.command()
@click.option("--requests", type=click.IntRange(10), default=200, show_default=True)
@click.option("--passages", type=click.IntRange(32), default=128, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--true-shape", is_flag=True, help="BGE-M3's shape, with random weights.")
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A model repository; by default one of the demo model.",
)
def main(
    requests: int, passages: int, rounds: int, true_shape: bool, repository: Path | None
) -> None:
    """Measure the profile whose graph holds the heads beside the one whose heads are in Python."""
    note = TRUE_SHAPE_NOTE if true_shape else DEMO_NOTE if repository is None else str(repository)
    if repository is None:
        repository = true_shape_repository() if true_shape else demo_repository()
    texts = [record.text for record in real_text_records() if record.kind == "passage"]
    texts = (texts * (1 + passages // len(texts)))[:passages]
    gc.disable()
    with ExitStack() as stack:
        servers = {
            profile: stack.enter_context(_served(repository, profile)) for profile in PROFILES
        }
        for mode in MODES:
            _measure_latency(list(servers.values()), mode, requests)
            _measure_rate(list(servers.values()), mode, texts, rounds)

    click.echo(f"{note}; {this_machine()}\n")
    rows = _rows(servers["cpu"].figures, servers["cpu_heads"].figures)
    click.echo(
        markdown_table(
            ("", "heads in Python (cpu)", "in the graph (cpu_heads)", "ratio"),
            [
                (name, f"{python:.2f}", f"{graph:.2f}", f"{graph / python:.2f}")
                for name, python, graph in rows
            ],
        )
    )
    write_json(
        output_directory() / "heads-in-graph.json",
        {
            "model": note,
            "requests": requests,
            "passages": passages,
            "profiles": {profile: asdict(served.figures) for profile, served in servers.items()},
        },
    )


@contextmanager
def _served(repository: Path, profile: Profile) -> Iterator[Served]:
    settings = ServeSettings(
        profile=profile, grpc_port=0, http_port=0, metrics_port=0, probe_interval_seconds=0
    )
    others = set(psutil.Process().children(recursive=True))
    begin = time.perf_counter()
    with running_triton(repository, settings) as addresses:
        seconds = time.perf_counter() - begin
        processes = frozenset(psutil.Process().children(recursive=True)) - others
        held = sum(process_memory(process.pid).anonymous_bytes for process in processes)
        with Client(addresses.grpc) as client:
            yield Served(client, processes, Figures(seconds, held))


def _measure_latency(servers: Sequence[Served], mode: str, requests: int) -> None:
    """Send one short text after the other, to each server in turn."""
    for number in range(_WARM_UP_REQUESTS + requests):
        # Each goes first as often as the other.
        for server in servers if number % 2 else reversed(servers):
            begin = time.perf_counter()
            server.client.encode([_SHORT_TEXT], set(MODES[mode]))
            if number >= _WARM_UP_REQUESTS:
                server.figures.latencies[mode].append(time.perf_counter() - begin)


def _measure_rate(servers: Sequence[Served], mode: str, texts: Sequence[str], rounds: int) -> None:
    """Send passages, a request each, 32 at a time; to each server in turn."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        # The first round warms up.
        for number in range(rounds + 1):
            for server in servers if number % 2 else reversed(servers):

                def tokens(text: str, server: Served = server) -> int:
                    answer = server.client.encode([text], set(MODES[mode]))
                    return int(answer.token_lengths.sum())

                used, begin = server.cpu_seconds(), time.perf_counter()
                total = sum(pool.map(tokens, texts))
                seconds = time.perf_counter() - begin
                if number:
                    server.figures.rates[mode].append(total / seconds)
                    cost = (server.cpu_seconds() - used) / total * 1e6
                    server.figures.costs[mode].append(cost)


def _rows(python: Figures, graph: Figures) -> list[tuple[str, float, float]]:
    both = (python, graph)
    p50 = {mode: [statistics.median(one.latencies[mode]) * 1000 for one in both] for mode in MODES}
    rate = {mode: [statistics.median(one.rates[mode]) for one in both] for mode in MODES}
    cost = {mode: [statistics.median(one.costs[mode]) for one in both] for mode in MODES}
    columns = {
        **{f"one short text, {mode}, p50 ms": p50[mode] for mode in MODES},
        **{f"passages, {IN_FLIGHT} in flight, {mode}, tokens/s": rate[mode] for mode in MODES},
        **{f"the same, {mode}, CPU s a million tokens": cost[mode] for mode in MODES},
        "start, s": [one.start_seconds for one in both],
        "memory beside mapped files, GiB": [one.anonymous_bytes / 2**30 for one in both],
    }
    return [(name, first, second) for name, (first, second) in columns.items()]


if __name__ == "__main__":
    main()
