"""Admission by tokens, and who goes next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from bgem3_server.gateway.calls.call import Priority
from bgem3_server.gateway.calls.errors import BusyError, TooLargeError
from bgem3_server.gateway.encoding.scheduler import Scheduler
from bgem3_server.gateway.settings import GatewaySettings

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


def run(scenario: Callable[[Scheduler], Awaitable[None]], **settings: float) -> Scheduler:
    """Run a scenario with a scheduler of its own; at its end nothing may be in flight."""

    async def main() -> Scheduler:
        scheduler = Scheduler(GatewaySettings(**settings))
        await scenario(scheduler)
        return scheduler

    return asyncio.run(main())


class Request:
    """A request of texts of some lengths, which records the parts that it was given."""

    def __init__(self, scheduler: Scheduler, priority: Priority, *lengths: int) -> None:
        self.parts: list[int] = []
        self.since_seconds = time.monotonic()
        self._scheduler = scheduler
        self._priority = priority
        self._lengths = list(lengths)
        scheduler.admit(sum(lengths))

    def turn(self) -> asyncio.Task[None]:
        """Wait for the next part, in a task that has already begun to wait."""
        return asyncio.create_task(self._scheduler.turn(self._priority, self))

    @property
    def next_tokens(self) -> int:
        """The length of the next text."""
        return self._lengths[0] if self._lengths else 0

    def send(self, room: int) -> int:
        """Record a part, which stays in flight until the test says that it is done."""
        taken = self._lengths.pop(0)
        while self._lengths and taken + self._lengths[0] <= room:
            taken += self._lengths.pop(0)
        self.parts.append(taken)
        return taken


async def settled() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_budget_refuses_with_figures() -> None:
    """Over the budget a request is refused at once, with the load and a time to come back."""

    async def scenario(scheduler: Scheduler) -> None:
        scheduler.admit(8000)
        with pytest.raises(BusyError) as caught:
            scheduler.admit(193)

        assert {
            "request_tokens": 193,
            "load_tokens": 8000,
            "budget_tokens": 8192,
        } == caught.value.figures
        assert 1 == caught.value.retry_after_seconds
        assert 8000 == scheduler.load_tokens
        scheduler.admit(192)  # exactly full
        with pytest.raises(BusyError):
            scheduler.check_open()
        scheduler.withdraw(8192)
        scheduler.check_open()

    run(scenario, max_load_tokens=8192)


def test_retry_after_grows_with_what_is_too_much() -> None:
    """With 2,000 tokens a second assumed, 8,000 tokens too many are 4 seconds."""

    async def scenario(scheduler: Scheduler) -> None:
        scheduler.admit(100_000)
        with pytest.raises(BusyError) as caught:
            scheduler.admit(8000)

        assert 4 == caught.value.retry_after_seconds

    run(scenario, max_load_tokens=100_000)


def test_request_over_the_whole_budget_is_too_large() -> None:
    """What would never fit is not told to try again."""

    async def scenario(scheduler: Scheduler) -> None:
        with pytest.raises(TooLargeError, match=r"8193 tokens together.*8192"):
            scheduler.admit(8193)

        assert 0 == scheduler.load_tokens

    run(scenario, max_load_tokens=8192)


def test_interactive_goes_before_waiting_bulk() -> None:
    """When there is room again, an interactive request passes bulk ones that waited longer."""

    async def scenario(scheduler: Scheduler) -> None:
        first = Request(scheduler, BULK, 512)
        second = Request(scheduler, BULK, 100)
        query = Request(scheduler, INTERACTIVE, 10)
        running = first.turn()
        await settled()
        bulk, interactive = second.turn(), query.turn()
        await settled()

        assert running.done()
        assert not bulk.done()
        assert not interactive.done()
        scheduler.done(BULK, 512)
        await settled()
        assert interactive.done()
        scheduler.done(INTERACTIVE, 10)
        await settled()
        assert bulk.done()
        scheduler.done(BULK, 100)

    assert 0 == run(scenario, max_in_flight_tokens=512).load_tokens


def test_bulk_is_cut_into_slices_by_the_pace() -> None:
    """At 10,000 tokens a second a slice of 0.05 s is 500 tokens: five texts of 100."""

    async def scenario(scheduler: Scheduler) -> None:
        scheduler.pace.begin(0.0)
        scheduler.pace.record(10_000, 1.0)
        request = Request(scheduler, BULK, *[100] * 20)
        turns = [request.turn()]
        await settled()
        turns.append(request.turn())
        await settled()
        turns.append(request.turn())
        await settled()

        assert [500, 500] == request.parts
        assert [True, True, False] == [turn.done() for turn in turns]
        scheduler.done(BULK, 500)
        await settled()
        assert 3 == len(request.parts)

    run(scenario)


def test_bulk_keeps_to_one_small_part_while_interactive_requests_come() -> None:
    """A third of a slice, one at a time: the next interactive request finds nothing before it."""

    async def scenario(scheduler: Scheduler) -> None:
        scheduler.pace.begin(0.0)
        scheduler.pace.record(10_000, 1.0)
        query = Request(scheduler, INTERACTIVE, 10)
        await query.turn()
        request = Request(scheduler, BULK, *[50] * 20)
        first = request.turn()
        await settled()
        second = request.turn()
        await settled()

        assert [150] == request.parts
        assert first.done()
        assert not second.done()
        second.cancel()

    run(scenario)


def test_overdue_bulk_goes_first() -> None:
    """A bulk request is not passed for ever."""

    async def scenario(scheduler: Scheduler) -> None:
        running = Request(scheduler, INTERACTIVE, 512)
        await running.turn()
        bulk = Request(scheduler, BULK, 400).turn()
        await asyncio.sleep(0.02)
        interactive = Request(scheduler, INTERACTIVE, 10).turn()
        await settled()
        scheduler.done(INTERACTIVE, 512)
        await settled()

        assert bulk.done()

        scheduler.done(BULK, 400)
        await settled()
        assert interactive.done()

    run(scenario, max_in_flight_tokens=512, bulk_patience_seconds=0.01)


def test_overdue_bulk_gets_as_much_as_interactive_requests_have() -> None:
    """Beyond its small part, whoever came first; and it holds up nobody once it has that."""

    async def scenario(scheduler: Scheduler) -> None:
        await Request(scheduler, INTERACTIVE, 2000).turn()
        first = Request(scheduler, BULK, *[100] * 30)
        second = Request(scheduler, BULK, *[100] * 30)
        turns = [second.turn(), first.turn()]
        await asyncio.sleep(0.02)
        # Fresh, the one that waits first has its small part; the rest waits for its turn.
        assert [[], [100]] == [first.parts, second.parts]

        later = Request(scheduler, INTERACTIVE, 300)
        await later.turn()
        await settled()

        # 2,000 in flight, less 100: then 300 more.
        assert [1900] == first.parts
        turns.append(second.turn())
        await settled()
        assert [100, 300] == second.parts
        query = Request(scheduler, INTERACTIVE, 10).turn()
        turns.append(first.turn())
        await settled()
        assert query.done()
        assert [True, True, True, False] == [turn.done() for turn in turns]
        turns[-1].cancel()

    run(scenario, bulk_patience_seconds=0.01, bulk_parts=1)


def test_text_longer_than_all_room_goes_alone() -> None:
    """A text is never cut: it waits until nothing else is in flight, and nobody passes it."""

    async def scenario(scheduler: Scheduler) -> None:
        short = Request(scheduler, INTERACTIVE, 10)
        await short.turn()
        longest = Request(scheduler, INTERACTIVE, 8192)
        long = longest.turn()
        later = Request(scheduler, INTERACTIVE, 10).turn()
        await settled()

        assert not long.done()
        assert not later.done()
        scheduler.done(INTERACTIVE, 10)
        await settled()
        assert long.done()
        assert [8192] == longest.parts
        assert not later.done()
        scheduler.done(INTERACTIVE, 8192)
        await settled()
        assert later.done()

    run(scenario, max_in_flight_tokens=512)


def test_given_up_before_its_turn() -> None:
    """Whoever gives up leaves no trace, also in the moment before that is noticed."""

    async def scenario(scheduler: Scheduler) -> None:
        running = Request(scheduler, INTERACTIVE, 512)
        await running.turn()
        first, second = (Request(scheduler, INTERACTIVE, length) for length in (100, 200))
        waiting, at_its_turn = first.turn(), second.turn()
        await settled()
        waiting.cancel()
        await settled()
        at_its_turn.cancel()
        scheduler.done(INTERACTIVE, 512)  # its turn, if it were still there
        scheduler.withdraw(300)
        await settled()

        assert at_its_turn.cancelled()
        assert [] == first.parts == second.parts
        assert 0 == scheduler.load_tokens
        last = Request(scheduler, INTERACTIVE, 512)
        await last.turn()
        assert [512] == last.parts
        scheduler.done(INTERACTIVE, 512)

    assert 0 == run(scenario, max_in_flight_tokens=512).load_tokens


def test_given_up_at_its_turn() -> None:
    """What was sent in that moment counts until it is done, as for everybody who leaves."""

    async def scenario(scheduler: Scheduler) -> None:
        await Request(scheduler, INTERACTIVE, 512).turn()
        request = Request(scheduler, INTERACTIVE, 200)
        turn = request.turn()
        await settled()
        scheduler.done(INTERACTIVE, 512)
        turn.cancel()
        await settled()

        assert [200] == request.parts
        assert 200 == scheduler.in_flight_tokens
        scheduler.done(INTERACTIVE, 200)

    assert 0 == run(scenario, max_in_flight_tokens=512).load_tokens


def test_texts_that_others_have_sent_need_no_turn() -> None:
    """Their request goes on at once, wherever in the queue it stands, and the next one follows."""

    async def scenario(scheduler: Scheduler) -> None:
        await Request(scheduler, INTERACTIVE, 512).turn()
        requests = [Request(scheduler, INTERACTIVE, 100) for _ in range(3)]
        turns = [request.turn() for request in requests]
        await settled()
        scheduler.skip(INTERACTIVE, requests[1])
        await settled()

        assert [False, True, False] == [turn.done() for turn in turns]
        scheduler.withdraw(100)
        scheduler.done(INTERACTIVE, 512)
        await settled()
        assert [[100], [], [100]] == [request.parts for request in requests]
        scheduler.done(INTERACTIVE, 100)
        scheduler.done(INTERACTIVE, 100)

    assert 0 == run(scenario, max_in_flight_tokens=512).load_tokens


def test_tokens_of_a_request_that_was_let_in_are_never_refused() -> None:
    """What it has to send after all counts, whatever the budget."""

    async def scenario(scheduler: Scheduler) -> None:
        scheduler.admit(8192)
        scheduler.readmit(100)

        assert 8292 == scheduler.load_tokens
        with pytest.raises(BusyError):
            scheduler.admit(1)
        scheduler.withdraw(8292)

    run(scenario, max_load_tokens=8192)
