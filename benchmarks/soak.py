"""All of a server under a mixed load for a long time: does anything grow, drift, or get lost?

``bgem3 serve`` with the demo model is loaded in turns with 80% and with 300% of what it can do, by
requests of several lengths, modes and dialects that arrive at random times. Every answer is
compared with that of the quiet server, the same three texts are asked for every second all the
way, and what each process holds is looked at every few seconds. ``make soak`` is five minutes of
it; ``make soak MINUTES=60`` an hour.

Ends with 1 when a bound is missed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import click
import numpy as np

from bgem3_bench.machine import this_machine
from bgem3_bench.reports import output_directory, write_json
from bgem3_bench.repositories import DEMO_NOTE, demo_repository
from serve_process import ServeProcess, serve_process
from soak_load import DIFFERENCE_LIMIT, Sent, SoakLoad
from soak_report import markdown_section, save_plot
from soak_watch import Holding, look, watch

MEMORY_GROWTH_LIMIT: Final = 0.10
_MEMORY_GRAIN_BYTES: Final = 16 << 20
_DESCRIPTOR_GROWTH_LIMIT: Final = 8
_LOADS: Final = {"80%": 0.8, "300%": 3.0}
_WARM_UP_SECONDS: Final = 20
_CAPACITY_SECONDS: Final = 20
_REST_SECONDS: Final = 10
_CALLERS: Final = 24
_CYCLE_MINUTES: Final = 10
# A full service makes a request wait for all that is before it, and then computes it beside others.
_WAIT_FACTOR: Final = 2.0
_WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Cycle:
    """One turn of every load.

    Attributes:
        begin_seconds: When it began.
        end_seconds: When the last of it was answered.
        requests_per_second: That the server answered just before, when it always had more.
        tokens_per_second: As the service itself said then.
    """

    begin_seconds: float
    end_seconds: float
    requests_per_second: float
    tokens_per_second: float

    def wait_limit_seconds(self, max_load_tokens: int) -> float:
        """Return the longest that an admitted request may take.

        What the service lets wait takes so long to compute, and there is a margin.
        """
        return max_load_tokens / self.tokens_per_second * _WAIT_FACTOR + _WAIT_SECONDS

    def has(self, at_seconds: float) -> bool:
        """Whether a time lies in it."""
        return self.begin_seconds <= at_seconds < self.end_seconds


@dataclass
class Soak:
    """What was measured.

    Attributes:
        minutes: Of load, beside the measurement of capacity.
        max_load_tokens: What the service was given as its limit.
        cycles: In their order.
        sent: All requests of the load.
        canary: All requests of the same texts.
        holdings: What the processes held.
        descriptors: That each process had open at rest, before the load and after it.
    """

    minutes: float
    max_load_tokens: int
    cycles: list[Cycle] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    canary: list[Sent] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    descriptors: list[dict[str, int]] = field(default_factory=list)


@click.command()
@click.option("--minutes", type=click.FloatRange(1), default=5.0, show_default=True)
@click.option("--seed", default=20_26, show_default=True)
@click.option(
    "--max-load-tokens",
    type=click.IntRange(8192),
    default=24_000,
    show_default=True,
    help="Tokens that may wait or run at once: BGEM3_MAX_LOAD_TOKENS of the service.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the plot goes, without a suffix.  [default: out/benchmarks/soak]",
)
def main(minutes: float, seed: int, max_load_tokens: int, picture: Path | None) -> None:
    """Load a server for so many minutes, and hold what came of it against its bounds."""
    soak = Soak(minutes, max_load_tokens)
    settings = {"BGEM3_MAX_LOAD_TOKENS": str(max_load_tokens)}
    with (
        tempfile.TemporaryDirectory() as name,
        serve_process(demo_repository(), Path(name), settings) as served,
    ):
        try:
            asyncio.run(_run(soak, served, seed))
        finally:
            said = served.log.read_text(errors="replace")
            click.echo(_warnings(said), err=True)
    verdicts = checks(soak)
    click.echo(f"{DEMO_NOTE}; {this_machine()}\n")
    click.echo(markdown_section(soak.sent, soak.canary, soak.holdings, list(_LOADS)))
    for sentence, passed in verdicts.items():
        click.echo(f"{sentence}: {'passed' if passed else 'MISSED'}")
    for file in save_plot(
        soak.sent, soak.canary, soak.holdings, picture or output_directory() / "soak"
    ):
        click.echo(file)
    write_json(output_directory() / "soak.json", {**asdict(soak), "results": verdicts})
    sys.exit(not all(verdicts.values()))


async def _run(soak: Soak, served: ServeProcess, seed: int) -> None:
    url = served.addresses["service"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = SoakLoad(session, url, seed)
        await load.learn()
        await load.saturate(_CALLERS, _WARM_UP_SECONDS, "warm-up")
    soak.descriptors.append(await _at_rest(served.pid))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load.session = session
        beside = [
            asyncio.create_task(load.watch_canary()),
            asyncio.create_task(watch(served.pid, lambda: load.now_seconds, soak.holdings)),
        ]
        cycles = max(2, round(soak.minutes / _CYCLE_MINUTES))
        seconds = soak.minutes * 60 / cycles / len(_LOADS)
        for cycle in range(cycles):
            soak.cycles.append(await _cycle(load, session, url, seconds))
            counts = Counter(
                f"{sent.phase} {sent.status}"
                for sent in load.sent
                if sent.phase in _LOADS and soak.cycles[-1].has(sent.at_seconds)
            )
            click.echo(
                f"cycle {cycle + 1} of {cycles}, {soak.cycles[-1].requests_per_second:.1f} "
                f"requests/s at capacity: {dict(sorted(counts.items()))}",
                err=True,
            )
        for task in beside:
            task.cancel()
        for ended in await asyncio.gather(*beside, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise click.ClickException(f"what is done beside the load stopped: {ended!r}")
    soak.descriptors.append(await _at_rest(served.pid))
    soak.sent, soak.canary = load.sent, load.canary


async def _cycle(load: SoakLoad, session: aiohttp.ClientSession, url: str, seconds: float) -> Cycle:
    # Measured anew each time: other work on the machine comes and goes.
    capacity = await load.saturate(_CALLERS, _CAPACITY_SECONDS, "capacity")
    if not capacity:
        raise click.ClickException(
            f"nothing was answered within {_CAPACITY_SECONDS} s: the machine is too busy for a soak"
        )
    async with session.get(f"{url}/health") as answer:
        tokens_per_second = (await answer.json())["queue"]["tokens_per_second"]
    begin = load.now_seconds
    for phase, factor in _LOADS.items():
        await load.arrive(capacity * factor, seconds, phase)
    return Cycle(begin, load.now_seconds, capacity, tokens_per_second)


async def _at_rest(pid: int) -> dict[str, int]:
    """Return the open descriptors of each process when nobody is connected."""
    await asyncio.sleep(_REST_SECONDS)
    return {holding.role: holding.descriptors for holding in look(pid, 0.0)}


def checks(soak: Soak) -> dict[str, bool]:
    """Return each bound in a sentence with its figure, and whether it was kept."""
    loaded = [sent for sent in soak.sent if sent.phase in _LOADS]
    limit = soak.max_load_tokens
    verdicts: dict[str, bool] = {}
    answered = [sent for sent in soak.sent if sent.difference is not None]
    wrong = [sent for sent in answered if (sent.difference or 0) > DIFFERENCE_LIMIT]
    verdicts[f"{len(answered):,} answers compared, {len(wrong)} wrong"] = (
        not wrong and len(answered) > 0
    )
    lost = [sent for sent in soak.sent if not sent.status]
    verdicts[f"{len(soak.sent):,} requests, {len(lost)} unanswered"] = not lost
    strange = [sent for sent in loaded if not _is_expected(sent)]
    kinds = sorted({f"{sent.kind} {sent.status}" for sent in strange})
    verdicts[
        f"{len(strange)} answers with a status that is not theirs {kinds or ''}".strip()
    ] = not strange
    for phase in _LOADS:
        p99s = {cycle: _p99_seconds(loaded, phase, cycle) for cycle in soak.cycles}
        worst = max(p99s, key=lambda cycle: p99s[cycle] / cycle.wait_limit_seconds(limit))
        verdicts[
            f"at {phase} the 99th percentile of admitted requests is {p99s[worst]:.2f} s in the "
            f"worst cycle (at most {worst.wait_limit_seconds(limit):.2f} s)"
        ] = p99s[worst] <= worst.wait_limit_seconds(limit)
    sung = [sent for sent in soak.canary if sent.difference is not None]
    drift = max((sent.difference or 0 for sent in sung), default=float("inf"))
    verdicts[
        f"the canary was answered {len(sung):,} times, and differs by {drift:.1e} at most (at most "
        f"{DIFFERENCE_LIMIT:.0e})"
    ] = drift <= DIFFERENCE_LIMIT
    verdicts |= _growth(soak)
    return verdicts


def _is_expected(sent: Sent) -> bool:
    # A full service says so before it looks at texts. What it lets in it answers in time.
    return sent.status in (422 if sent.kind == "mistake" else 200, 429)


def _p99_seconds(loaded: Sequence[Sent], phase: str, cycle: Cycle) -> float:
    seconds = [
        sent.seconds
        for sent in loaded
        if sent.phase == phase and sent.admitted and cycle.has(sent.at_seconds)
    ]
    return float(np.percentile(seconds, 99))


def _growth(soak: Soak) -> dict[str, bool]:
    """Hold each process's second half of the cycles against its first half."""
    middle = soak.cycles[len(soak.cycles) // 2].begin_seconds
    before, after = soak.descriptors
    verdicts: dict[str, bool] = {}
    for role in sorted(before.keys() | after.keys()):
        own = [holding for holding in soak.holdings if holding.role == role]
        early = max(one.memory_bytes for one in own if one.at_seconds < middle)
        late = max(one.memory_bytes for one in own if one.at_seconds >= middle)
        replaced = len({holding.pid for holding in own}) - 1
        verdicts[
            f"{role}: at most {early >> 20} MiB in the first half, {late >> 20} in the second; "
            f"{before.get(role, 0)} descriptors at rest before, {after.get(role, 0)} after; "
            f"replaced {replaced} times"
        ] = (
            late <= early * (1 + MEMORY_GROWTH_LIMIT) + _MEMORY_GRAIN_BYTES
            and after.get(role, 0) <= before.get(role, 0) + _DESCRIPTOR_GROWTH_LIMIT
            and not replaced
        )
    return verdicts


def _warnings(log: str) -> str:
    """Return the lines of the server's log that a person should see, the last of many."""
    lines = [
        line
        for line in log.splitlines()
        if '"level": "info"' not in line and '"level":"info"' not in line
    ]
    return "\n".join(lines[-20:])


if __name__ == "__main__":
    main()
