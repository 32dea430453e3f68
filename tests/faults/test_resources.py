"""What a server needs is not there, or not as it was: descriptors, memory, time, room to wait.

For as long as the fault lasts requests may be refused; afterwards nobody has to lend a hand.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from email.utils import parsedate_to_datetime

import httpx
import psutil
import pytest
from faults.conftest import Inject, in_long_form
from faults.load import Load, Outcome
from faults.stack import STEPS, ClockShift, Stack
from live.test_out_of_memory import little_memory
from waiting import wait_until

from bgem3_backend.contract import TRUNK
from bgem3_export.reference_texts import REFERENCE_TEXTS

pytestmark = pytest.mark.live

_DAY_SECONDS = 86_400
_FLOOD_CALLERS = 48
_STILL_SECONDS = 0.5
_FREE_BYTES = 24 * 2**20


@pytest.mark.parametrize("days", [-2, *in_long_form(1)])
def test_the_clock_jumps(
    addresses: dict[str, str], load: Load, clock: ClockShift, inject: Inject, days: int
) -> None:
    """Nobody notices: what is measured and waited for is so by the monotonic clock."""

    @contextmanager
    def jump() -> Iterator[None]:
        clock.set(days * _DAY_SECONDS)
        wait_until(lambda: abs(_server_time(addresses) - time.time() - days * _DAY_SECONDS) < 60)
        time.sleep(2)  # probes, and all else that is done every second
        yield
        clock.set(0)
        wait_until(lambda: abs(_server_time(addresses) - time.time()) < 60)

    toll = inject(f"the clock jumps by {days:+} days, and back", load, jump)

    assert 0 == toll.outcomes[Outcome.FAILED]


@pytest.mark.parametrize("server", ["service", "grpc", *in_long_form("http")])
def test_no_descriptor_is_left(
    stack: Stack, addresses: dict[str, str], load: Load, inject: Inject, server: str
) -> None:
    """Connections that are open are served; new ones wait or fail until there is room again."""
    process = stack.worker() if server == "service" else stack.serve.triton()
    host, _, port = addresses[server].removeprefix("http://").rpartition(":")

    @contextmanager
    def exhausted() -> Iterator[None]:
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 4, hard))
        with ExitStack() as idle:

            def full() -> bool:
                # Another worker takes some of them.
                with suppress(OSError):
                    idle.enter_context(socket.create_connection((host, int(port)), timeout=1))
                return process.num_fds() >= process.rlimit(psutil.RLIMIT_NOFILE)[0] - 1

            wait_until(full)
            time.sleep(1)
        yield
        with suppress(psutil.NoSuchProcess):
            process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))

    inject(f"out of descriptors: {server}", load, exhausted)


def test_the_trunk_has_no_memory(
    stack: Stack, addresses: dict[str, str], load: Load, inject: Inject
) -> None:
    """What needs too much fails, and the trunk goes on, or is replaced where it died of it.

    Who needed it is told by type where it got so far; Triton's side of the process dies before.
    """
    refusals: list[str] = []

    @contextmanager
    def too_long() -> Iterator[None]:
        with little_memory(stack.model(TRUNK.name), _FREE_BYTES):
            answer = httpx.post(
                f"{addresses['service']}/embed",
                json={"texts": [" ".join(REFERENCE_TEXTS) * 20]},
                headers={"x-timeout-seconds": "30", "cache-control": "no-store"},
                timeout=60,
            )
            refusals.append(f"{answer.status_code} {answer.json().get('code')}")
        yield

    inject("out of memory in the trunk", load, too_long)

    assert set(refusals) <= {"503 out_of_memory", "503 not_ready", "500 internal_error"}


@pytest.mark.parametrize("step", in_long_form(*STEPS) or [TRUNK.name])
def test_the_queue_of_a_step_fills(
    stack: Stack, addresses: dict[str, str], load: Load, inject: Inject, step: str
) -> None:
    """Its process stands still and requests pile up: the service lets no more in than it may.

    What it has let in is answered when the process goes on. It does so soon: Triton takes one that
    stands still for longer for dead.
    """

    @contextmanager
    def flooded() -> Iterator[None]:
        process = stack.model(step)
        with (
            httpx.Client(base_url=addresses["service"], timeout=30) as client,
            ThreadPoolExecutor(_FLOOD_CALLERS) as callers,
        ):
            process.suspend()
            try:
                flood = [callers.submit(_status, client) for _ in range(_FLOOD_CALLERS)]
                time.sleep(_STILL_SECONDS)
                at_once = [one.result() for one in flood if one.done()]
            finally:
                process.resume()
            statuses = {one.result() for one in flood}

        assert {429} == set(at_once)
        assert {200, 429} == statuses
        yield

    toll = inject(f"the queue of `{step}` fills", load, flooded)

    assert toll.failures.keys() <= {"429 busy"}


def _status(client: httpx.Client) -> int:
    """Of a request of as many tokens as make a few of them too many."""
    texts = [f"{random.random()} {text}" for text in REFERENCE_TEXTS]
    return client.post(
        "/embed",
        json={"texts": texts, "mode": ["dense", "sparse", "colbert"], "return_tokens": True},
    ).status_code


def _server_time(addresses: dict[str, str]) -> float:
    answer = httpx.get(f"{addresses['service']}/health/live")
    return parsedate_to_datetime(answer.headers["date"]).timestamp()
