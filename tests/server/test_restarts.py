"""How long to wait before a restart, and when to give up."""

from __future__ import annotations

from bgem3_server.restarts import RestartPolicy, Restarts


def test_each_wait_is_doubled_up_to_a_limit():
    """And after the last restart there is none."""
    restarts = Restarts(RestartPolicy(4, delay_seconds=1, delay_limit_seconds=3))

    assert [1, 2, 3, 3, None] == [restarts.next_delay_seconds(0) for _ in range(5)]
    assert "it fell; given up after 4 restarts in a row" == restarts.given_up("it fell")


def test_time_in_service_forgives():
    """Failures count in a row only."""
    restarts = Restarts(RestartPolicy(1, delay_seconds=1, reset_seconds=60))

    assert [1, 1, 1] == [restarts.next_delay_seconds(61) for _ in range(3)]
    assert restarts.next_delay_seconds(59) is None


def test_no_restarts_at_all():
    """A limit of 0 means the first failure is the last; nothing is said of restarts."""
    restarts = Restarts(RestartPolicy(0))

    assert restarts.next_delay_seconds(1000) is None
    assert "it fell" == restarts.given_up("it fell")
