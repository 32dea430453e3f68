"""The second Triton takes over from a real one that is killed, or hangs, under load."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from live_server import QUIET, live_triton
from live_service import live_service
from waiting import wait_until

from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

_THREADS = 4


class Load:
    """Requests without a pause from several threads.

    Attributes:
        answers: Status, who answered, and the vector.
    """

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, str | None, list[float]]] = []
        self._url = url
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while the block runs."""
        threads = [threading.Thread(target=self._send) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def until_served_by(self, name: str) -> None:
        """Wait for an answer from now on that says so."""
        seen = len(self.answers)
        wait_until(lambda: any(by == name for _, by, _ in self.answers[seen:]), 90)

    def _send(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as service:
            while not self._over.is_set():
                # Never joined with another's, nor kept.
                answer = service.post(
                    "/embed", json={"texts": ["a text"]}, headers={"Cache-Control": "no-store"}
                )
                found = answer.json()["embeddings"][0] if answer.status_code == 200 else []
                self.answers.append(
                    (answer.status_code, answer.headers.get("X-Bgem3-Served-By"), found)
                )


@pytest.fixture(scope="module")
def primary(demo_repository: Path) -> Iterator[Addresses]:
    """A Triton for these tests alone; what kills it is followed by a restart."""
    with live_triton(
        demo_repository, settings=QUIET.model_copy(update={"restart_delay_seconds": 2.0})
    ) as addresses:
        yield addresses


@pytest.fixture
def url(primary: Addresses, triton: Addresses, demo_repository: Path) -> Iterator[str]:
    """The service over both, when the primary answers and the fallback can be used."""
    settings = GatewaySettings(
        triton=primary.grpc,
        fallback_triton=triton.grpc,
        fallback_return_seconds=0.5,
        tokenizer=demo_repository,
        ready_interval_seconds=0.2,
        answer_timeout_seconds=2,
    )
    with live_service(settings) as url:

        def settled() -> bool:
            fallback = httpx.get(f"{url}/health").json()["fallback"]
            return bool(fallback["usable"]) and not fallback["serving"]

        # The fallback may be the first to answer. What it answers then, a test would take for a
        # sign of what the test did itself.
        wait_until(settled, 60)
        yield url


def process_of(addresses: Addresses) -> psutil.Process:
    """The Triton at these addresses, as it runs now."""
    for process in psutil.process_iter(["cmdline", "name"]):
        ours = f"--grpc-port={addresses.grpc_port}" in (process.info["cmdline"] or ())
        if ours and process.info["name"] == "tritonserver":
            return process
    raise AssertionError("no such Triton")


def test_killed_primary_costs_no_request(url, primary):
    """Each is answered, with the same vector, and says by whom; then the primary has them back."""
    load = Load(url)
    with load.running():
        load.until_served_by("primary")
        process_of(primary).kill()
        load.until_served_by("fallback")
        load.until_served_by("primary")

    assert {200} == {status for status, _, _ in load.answers}
    vectors = np.array([vector for _, _, vector in load.answers])
    assert (vectors @ vectors[0]).min() > 0.9999
    metrics = httpx.get(f"{url}/metrics").text
    assert "bgem3_fallback_active 0.0" in metrics
    assert 'bgem3_served_seconds_count{by="fallback"}' in metrics


def test_hung_primary_costs_no_request(url, primary):
    """What waits for it is answered by the fallback too, when it is found out, or ended for it."""
    process = process_of(primary)
    load = Load(url)
    with load.running():
        load.until_served_by("primary")
        process.send_signal(signal.SIGSTOP)
        try:
            load.until_served_by("fallback")
        finally:
            process.send_signal(signal.SIGCONT)
        load.until_served_by("primary")

    assert {200} == {status for status, _, _ in load.answers}
    asked_again = [
        float(line.split()[1])
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if line.startswith("bgem3_fallback_requests_total") and '"active"' not in line
    ]
    assert sum(asked_again) >= 1
