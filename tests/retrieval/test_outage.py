"""What is said while a server is waited for."""

from __future__ import annotations

import pytest

from bgem3_client import Client, FakeTransport, UnavailableError
from bgem3_retrieval import outage
from bgem3_retrieval.outage import Outage, SaidRetries


class Clock:
    """Stands still but for what is added to it."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        """See `time`."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that outages go by."""
    clock = Clock()
    monkeypatch.setattr(outage, "time", clock)
    return clock


@pytest.fixture
def lines() -> list[str]:
    """What was said."""
    return []


def test_one_line_when_it_is_away_and_one_when_it_is_back(clock: Clock, lines: list[str]) -> None:
    """However many requests fail meanwhile; and so again the next time."""
    one = Outage("a:8001", lines.append, calm_seconds=2)
    for _ in range(2):
        for _ in range(10):
            one.failed("it is gone")
            clock.seconds += 1
        for _ in range(10):
            one.answered()

    assert ["waiting for a:8001: it is gone", "a:8001 is back"] * 2 == lines


def test_what_passes_soon_is_not_said(clock: Clock, lines: list[str]) -> None:
    """An answer ends it, and the next failure is the first of others."""
    one = Outage("a:8001", lines.append, calm_seconds=2)
    for _ in range(5):
        one.failed("a moment")
        clock.seconds += 1.9
        one.failed("a moment")
        one.answered()
        clock.seconds += 1.9

    assert [] == lines


def test_retries_tell_it(lines: list[str]) -> None:
    """Each failed try, and the answer."""
    retries = SaidRetries(
        attempts=4, initial_backoff_seconds=0, outage=Outage("a:8001", lines.append, calm_seconds=0)
    )
    transport = FakeTransport(script=[UnavailableError("gone")] * 3)
    with Client(transport=transport, retries=retries) as client:
        client.encode(["a text"])

    assert ["waiting for a:8001: gone", "a:8001 is back"] == lines


def test_the_last_failure_is_raised(lines: list[str]) -> None:
    """With how often it was tried, as without an outage."""
    retries = SaidRetries(
        attempts=2, initial_backoff_seconds=0, outage=Outage("a:8001", lines.append, calm_seconds=0)
    )
    transport = FakeTransport(script=[UnavailableError("gone")] * 3)
    with (
        Client(transport=transport, retries=retries) as client,
        pytest.raises(UnavailableError, match=r"gone \(tried 2 times\)"),
    ):
        client.encode(["a text"])

    assert ["waiting for a:8001: gone"] == lines
