"""Connections that fail, between callers and the server and between the service and Triton."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.conftest import Inject, in_long_form
from faults.faulty_wire import Fault, FaultyWire
from faults.load import DEADLINE_SECONDS, Load, Outcome, ServiceAsker, TritonAsker
from faults.questions import RightAnswers
from gateway.gateway_command import GatewayProcess

pytestmark = pytest.mark.live

QUICK = (Fault.REFUSED, Fault.RESET, Fault.HALF_CLOSED, Fault.CUT)
# As long as a switch needs to come back; silence lasts longer than a request may take.
_FAULT_SECONDS = 0.5
_SILENCE_SECONDS = DEADLINE_SECONDS + 1


@dataclass
class Wires:
    """The ways that callers take, and the one that the service takes to Triton."""

    outer: list[FaultyWire]
    inner: FaultyWire
    load: Load


@pytest.fixture(scope="module")
def wires(
    addresses: dict[str, str],
    fault_repository: Path,
    right: RightAnswers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Wires]:
    """Load on a service of its own and on Triton, all by way of wires."""
    with ExitStack() as cleanup:
        grpc = cleanup.enter_context(FaultyWire(addresses["grpc"]))
        http = cleanup.enter_context(FaultyWire(addresses["http"].removeprefix("http://")))
        inner = cleanup.enter_context(FaultyWire(addresses["grpc"]))
        folder = tmp_path_factory.mktemp("gateway")
        url = cleanup.enter_context(_gateway(inner.address, fault_repository, folder))
        service = cleanup.enter_context(FaultyWire(url.removeprefix("http://")))
        load = Load(
            right,
            [
                ("service", lambda: ServiceAsker(f"http://{service.address}")),
                ("gRPC", lambda: TritonAsker(grpc.address)),
                ("HTTP", lambda: TritonAsker(f"http://{http.address}")),
            ],
        )
        cleanup.enter_context(load)
        yield Wires([service, grpc, http], inner, load)


@contextmanager
def _gateway(triton: str, repository: Path, folder: Path) -> Iterator[str]:
    """The service alone, in front of a Triton; gives its URL."""
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [
                *(Path(sys.executable).with_name("bgem3"), "gateway", "--triton", triton),
                *("--host", "127.0.0.1", "--port", "0", "--tokenizer", repository),
                *("--ready-interval-seconds", "1", "--ready-file", folder / "ready.json"),
            ],
            stdout=out,
            stderr=err,
        )
    try:
        yield GatewayProcess(process, folder).wait_ready()
    finally:
        process.kill()
        process.wait()


@contextmanager
def _broken(wires: list[FaultyWire], fault: Fault) -> Iterator[None]:
    with ExitStack() as broken:
        for wire in wires:
            broken.enter_context(wire.broken(fault))
        time.sleep(_SILENCE_SECONDS if fault is Fault.SILENT else _FAULT_SECONDS)
        yield


@pytest.mark.parametrize("fault", [*QUICK, *in_long_form(Fault.SLOW, Fault.SILENT)])
def test_between_callers_and_server(wires: Wires, inject: Inject, fault: Fault) -> None:
    """A caller gets an error or the right answer, never half of one."""
    name = f"{fault.value}, callers to server"
    toll = inject(name, wires.load, lambda: _broken(wires.outer, fault))

    assert (fault is Fault.SLOW) == (toll.outcomes[Outcome.FAILED] == 0)


@pytest.mark.parametrize("fault", [*QUICK, Fault.SILENT, *in_long_form(Fault.SLOW)])
def test_between_service_and_triton(wires: Wires, inject: Inject, fault: Fault) -> None:
    """The service says that Triton is away, or that the time is over, and connects again alone."""
    name = f"{fault.value}, service to Triton"
    toll = inject(name, wires.load, lambda: _broken([wires.inner], fault))

    assert (fault is Fault.SLOW) == (toll.outcomes[Outcome.FAILED] == 0)
    of_the_service = {failure for failure in toll.failures if failure[0].isdecimal()}
    assert of_the_service <= {"503 not_ready", "504 deadline_exceeded"}
