"""What each of several processes of the service may hold, and what it tells of itself."""

from __future__ import annotations

import os

import pytest

from bgem3_client.errors import InvalidInputError
from bgem3_server.gateway.process.events import (
    ServiceNotReady,
    ServiceReady,
    ServiceState,
    ServiceStopping,
    StateChanges,
)
from bgem3_server.gateway.process.worker_reports import Reports, decode_state
from bgem3_server.gateway.process.workers import share_of
from bgem3_server.gateway.settings import GatewaySettings


def test_the_budgets_of_the_service_are_divided() -> None:
    """So that four processes hold no more than one."""
    settings = GatewaySettings(workers=4, max_load_tokens=100_000, max_in_flight_tokens=16_384)

    share = share_of(settings)

    assert (25_000, 4096) == (share.max_load_tokens, share.max_in_flight_tokens)
    assert settings.max_result_bytes // 4 == share.max_result_bytes
    assert settings.max_body_bytes == share.max_body_bytes


def test_a_share_that_no_text_fits_in_is_refused() -> None:
    """A worker must hold one text of full length."""
    with pytest.raises(
        InvalidInputError, match="--max-load-tokens 16384 leaves each of 4 workers 4096"
    ):
        share_of(GatewaySettings(workers=4, max_load_tokens=16_384))


def test_states_come_through_a_pipe() -> None:
    """Each new one at once, and none again right after it."""
    reader, writer = os.pipe()
    reports = Reports(writer)
    states: list[ServiceState] = [
        ServiceNotReady("loading, 中文"),
        ServiceReady("bge-m3", demo=True),
        ServiceStopping(),
    ]

    for state in states:
        reports.tell(state)
        reports.tell(state)
    lines = os.read(reader, 65536).splitlines()

    assert states == [decode_state(line) for line in lines]
    os.close(reader)
    reports.tell(ServiceReady("nobody reads it"))
    os.close(writer)


def test_a_reader_that_does_not_read_stops_nobody() -> None:
    """A full pipe loses states; the process that tells them goes on."""
    reader, writer = os.pipe()
    reports = Reports(writer)

    for number in range(3000):
        reports.tell(ServiceNotReady(f"{number}: {'x' * 100}"))

    os.close(reader)
    os.close(writer)


def test_what_does_not_last_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each time when readiness changes for longer than a moment, and no other."""
    clock = [0.0]
    monkeypatch.setattr("bgem3_server.gateway.process.events.time.monotonic", lambda: clock[0])
    told: list[object] = []
    changes = StateChanges(told.append)
    ready, not_ready = ServiceReady("bge-m3"), ServiceNotReady("Triton is away")

    for seconds, state in [
        (100.0, not_ready),
        (102.0, not_ready),
        (102.5, ready),
        (103.0, not_ready),
        (104.0, ready),
        (105.0, not_ready),
        (108.5, not_ready),
        (109.0, not_ready),
        (110.0, ready),
    ]:
        clock[0] = seconds
        changes.see(state)

    assert [ready, not_ready, ready] == told
