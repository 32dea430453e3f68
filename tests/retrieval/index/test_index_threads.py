"""Work that threads do ahead, and its end."""

from __future__ import annotations

import threading

import pytest

from bgem3_retrieval.index.threads import in_threads


def test_nothing_is_begun_behind_what_failed() -> None:
    """The first item is still at work when the second one fails; what waits is not begun."""
    begun: list[int] = []
    may_end = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            assert may_end.wait(10)
        if number == 1:
            threading.Timer(0.2, may_end.set).start()
            raise ValueError("the second")
        return number

    results = in_threads(work, range(8), 2, 8, "work")

    assert 0 == next(results)
    with pytest.raises(ValueError, match="the second"):
        next(results)
    assert [0, 1] == sorted(begun)


def test_what_is_in_front_of_a_failure_is_done() -> None:
    """Also what was slow: the failure has its place in the order."""

    def work(number: int) -> int:
        if number == 5:
            raise ValueError("the sixth")
        threading.Event().wait(0.01 * (5 - number))
        return number

    results = in_threads(work, range(8), 4, 8, "work")

    assert [0, 1, 2, 3, 4] == [next(results) for _ in range(5)]
    with pytest.raises(ValueError, match="the sixth"):
        next(results)
