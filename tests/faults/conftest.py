"""A server to be hurt, callers who know what is right, and the table of what it cost."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from faults.load import Load, ServiceAsker, Toll, TritonAsker
from faults.questions import RightAnswers
from faults.stack import ClockShift, Stack
from live.poisoned_model import write_poisoned_repository

from bgem3_client import Client
from bgem3_server.errors import InstallationError
from bgem3_server.triton.installation import find_installation

TIMES_VARIABLE = "BGEM3_FAULTS"
RECOVERY_LIMIT_SECONDS = 120
Fault = TypeVar("Fault")
Inject = Callable[[str, Load, Callable[[], AbstractContextManager[None]]], Toll]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests of the long form alone to the make target."""
    if times() > 1:
        return
    left = [item for item in items if item.get_closest_marker("long_form")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def fault_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a model of two layers of 32."""
    return write_poisoned_repository(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> ClockShift:
    """The wall clock of the server."""
    return ClockShift(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="session")
def stack(
    fault_repository: Path, clock: ClockShift, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The server; at the end it stops in order, and nothing of it is left."""
    try:
        find_installation(None)
    except InstallationError as error:
        pytest.skip(f"no Triton can run here: {error}")
    stack = Stack(fault_repository, tmp_path_factory.mktemp("stack"), clock.environment)
    with running(stack):
        yield stack


@contextmanager
def running(stack: Stack) -> Iterator[None]:
    """Wait until a server is ready; at the end it stops in order, and nothing of it is left."""
    try:
        stack.serve.wait_ready()
        yield
        stack.stop()
    finally:
        if stack.serve.process.poll() is None:
            stack.kill()


@pytest.fixture(scope="session")
def addresses(stack: Stack) -> dict[str, str]:
    """Where the server is; the same after each of its starts."""
    return stack.serve.wait_ready()


@pytest.fixture(scope="session")
def right(addresses: dict[str, str]) -> RightAnswers:
    """What the server says while nothing is done to it."""
    with Client(addresses["grpc"]) as client:
        return RightAnswers(client)


@pytest.fixture(scope="module")
def load(addresses: dict[str, str], right: RightAnswers) -> Iterator[Load]:
    """Callers of the service, and of both of Triton's ports."""
    with load_of(addresses, right) as load:
        yield load


def load_of(addresses: dict[str, str], right: RightAnswers) -> Load:
    """Return the callers of a server."""
    return Load(
        right,
        [
            ("service", lambda: ServiceAsker(addresses["service"])),
            ("gRPC", lambda: TritonAsker(addresses["grpc"])),
            ("HTTP", lambda: TritonAsker(addresses["http"])),
        ],
    )


@pytest.fixture
def inject() -> Inject:
    """Inject a fault at random moments under load, and hold it to what must be so.

    Called with the fault's name, the load, and a function that makes a context: on entering it the
    fault is there, on leaving it is over, where it does not have to be mended by the server.
    """

    def inject(fault: str, load: Load, make: Callable[[], AbstractContextManager[None]]) -> Toll:
        toll = Toll(fault)
        for _ in range(times()):
            time.sleep(random.uniform(0, 0.3))
            in_flight, injected = load.in_flight(), time.monotonic()
            with make():
                pass
            load.wait_well(time.monotonic(), RECOVERY_LIMIT_SECONDS)
            toll.count(in_flight, injected, load.ended_since(injected))
        _keep(toll.row())

        assert [] == toll.mistakes[:3]
        return toll

    return inject


def _keep(row: str) -> None:
    """Print a row of the table, and write it where a make target says."""
    print(row)
    if path := os.environ.get("BGEM3_FAULTS_ROWS"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{row}\n")


def times() -> int:
    """Return how often a fault is injected: once, or as often as a make target says."""
    return int(os.environ.get(TIMES_VARIABLE, "1"))


def in_long_form(*faults: Fault) -> tuple[Fault, ...]:
    """Return faults that are for the make target alone: they take long, or are much like others."""
    return faults if times() > 1 else ()


@contextmanager
def done_once(action: Callable[[], object]) -> Iterator[None]:
    """A fault that is done and has to be mended by the server."""
    action()
    yield
