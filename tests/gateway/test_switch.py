"""When requests go to the fallback and when they come back, by a clock of the test's own."""

from __future__ import annotations

from bgem3_server.gateway.tritons.switch import Switch


class Bench:
    """A switch whose primary is well and whose fallback is usable, at 0 seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.changes: list[bool] = []
        self.switch = Switch(10, self._changed, lambda: self.seconds)
        self.switch.primary_answered()
        self.switch.fallback_is(usable=True)

    def _changed(self) -> None:
        self.changes.append(self.switch.on_fallback)

    def seconds_until_return(self) -> int:
        """How long probes must be answered, one a second, until the primary has the work again."""
        for seconds in range(1000):
            self.switch.primary_answered()
            if not self.switch.on_fallback:
                return seconds
            self.seconds += 1
        raise AssertionError("it never returned")


def test_some_failures_in_a_row_are_enough():
    """Fewer, or with an answer in between, are not."""
    bench = Bench()
    for outcome in ("failed", "failed", "answered", "failed", "failed"):
        getattr(bench.switch, f"request_{outcome}")()

    assert not bench.switch.on_fallback

    bench.switch.request_failed()

    assert bench.switch.on_fallback
    assert bench.switch.moved.is_set()


def test_returns_after_a_time_without_a_break():
    """A probe that fails begins it anew."""
    bench = Bench()
    bench.switch.primary_lost()
    for _ in range(9):
        bench.switch.primary_answered()
        bench.seconds += 1
    bench.switch.primary_missed()

    assert 10 == bench.seconds_until_return()
    assert [True, False] == bench.changes
    assert not bench.switch.moved.is_set()


def test_who_is_lost_again_soon_waits_longer():
    """Twice as long each time, up to a limit; after a minute without trouble as before."""
    bench = Bench()
    waited = []
    for _ in range(7):
        bench.switch.primary_lost()
        waited.append(bench.seconds_until_return())
        bench.seconds += 5
    bench.seconds += 60
    bench.switch.primary_lost()

    assert [10, 20, 40, 80, 160, 160, 160] == waited
    assert 10 == bench.seconds_until_return()


def test_fallback_that_cannot_be_used_changes_nothing():
    """Neither before nor while it answers."""
    bench = Bench()
    bench.switch.fallback_is(usable=False)
    bench.switch.primary_lost()

    assert [] == bench.changes

    bench.switch.fallback_is(usable=True)
    bench.switch.fallback_is(usable=False)

    assert [True, False] == bench.changes


def test_primary_that_is_alone_returns_at_once():
    """There is nobody to wait with."""
    bench = Bench()
    bench.switch.fallback_is(usable=False)
    bench.switch.primary_lost()
    bench.switch.primary_answered()
    bench.switch.fallback_is(usable=True)

    assert [] == bench.changes
