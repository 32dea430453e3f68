"""Which requests are let in, and whose texts go to Triton next: both counted in tokens."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Protocol

from bgem3_server.gateway.calls.call import Priority
from bgem3_server.gateway.calls.errors import BusyError, TooLargeError
from bgem3_server.gateway.encoding.pace import Pace
from bgem3_server.gateway.settings import GatewaySettings

# A part smaller than this costs more in messages than it saves in waiting.
_LEAST_PART_TOKENS: Final = 128
# One Triton request may hold 32,768 tokens; smaller parts are balanced better over instances.
_LARGEST_PART_TOKENS: Final = 8192
# So long after an interactive request another one is expected.
_EXPECTED_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60


class Unsent(Protocol):
    """A request's texts that are to be sent to Triton."""

    @property
    def next_tokens(self) -> int:
        """The length of the next text; 0 where none is left."""

    def send(self, room_tokens: int) -> int:
        """Send texts of up to so many tokens, one text at least.

        Returns:
            Their tokens, to be given to :meth:`Scheduler.done` when they are answered.
        """


@dataclass(eq=False)
class _Waiting:
    """Texts that wait for their turn."""

    since_seconds: float
    over: asyncio.Future[None] = field(default_factory=asyncio.Future)


class Scheduler:
    """The door and the queue before Triton.

    A request is admitted as a whole, or refused at once. Its texts then go to Triton in parts,
    each as large as there is room for when its turn comes. Interactive parts go first. Bulk parts
    are kept so small, by the pace that Triton is seen to have, that an interactive request never
    waits long behind one.

    All methods run in one event loop.

    Attributes:
        waiting_tokens: Admitted, and not yet sent.
        in_flight_tokens: Sent, and not yet answered.
        pace: Of the Triton that answers now.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.waiting_tokens = 0
        self.in_flight_tokens = 0
        self.pace = Pace()
        self._settings = settings
        self._queues: dict[Priority, OrderedDict[Unsent, _Waiting]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._parts_in_flight = dict.fromkeys(Priority, 0)
        self._last_interactive_seconds = -math.inf

    @property
    def load_tokens(self) -> int:
        """What the budget is held against: waiting and in flight."""
        return self.waiting_tokens + self.in_flight_tokens

    def check_open(self) -> None:
        """Refuse early, before the work of counting tokens, when nothing would be let in.

        Raises:
            BusyError: The budget is spent.
        """
        if self.load_tokens >= self._settings.max_load_tokens:
            raise self._busy(0)

    def admit(self, tokens: int) -> None:
        """Let a request in.

        Raises:
            TooLargeError: It has more tokens than may ever wait.
            BusyError: It has more than may wait now.
        """
        budget = self._settings.max_load_tokens
        if tokens > budget:
            raise TooLargeError(
                f"the texts have {tokens} tokens together, and this service takes {budget} at "
                "once: send fewer or shorter texts a request",
                figures={"request_tokens": tokens, "budget_tokens": budget},
            )
        if self.load_tokens + tokens > budget:
            raise self._busy(tokens)
        self.waiting_tokens += tokens

    def readmit(self, tokens: int) -> None:
        """Count tokens of a request that was let in without them, whatever the budget."""
        self.waiting_tokens += tokens

    def withdraw(self, tokens: int) -> None:
        """Forget tokens that were admitted and will not be sent."""
        self.waiting_tokens -= tokens

    async def turn(self, priority: Priority, unsent: Unsent) -> None:
        """Wait until a part of a request's texts has been sent, or :meth:`skip` is called.

        Args:
            priority: The request's.
            unsent: One text at least; sends the part when its turn has come.
        """
        now = time.monotonic()
        if priority is Priority.INTERACTIVE:
            self._last_interactive_seconds = now
        queue = self._queues[priority]
        waiting = queue[unsent] = _Waiting(now)
        self._dispatch()
        try:
            await waiting.over
        finally:
            queue.pop(unsent, None)

    def skip(self, priority: Priority, unsent: Unsent) -> None:
        """None of the texts is left to send: whoever waits for their turn goes on at once."""
        if (waiting := self._queues[priority].pop(unsent, None)) is not None:
            waiting.over.set_result(None)

    def done(self, priority: Priority, tokens: int, *, answered: bool = True) -> None:
        """A part is no longer in flight; one that failed says nothing about the pace."""
        now = time.monotonic()
        if answered:
            self.pace.record(tokens, now)
        else:
            self.pace.begin(now)
        self.in_flight_tokens -= tokens
        self._parts_in_flight[priority] -= 1
        self._dispatch()

    def use_pace(self, pace: Pace) -> None:
        """Another Triton answers from now on; what was seen of the last one is not its pace."""
        self.pace = pace
        pace.begin(time.monotonic())

    def _dispatch(self) -> None:
        now = time.monotonic()
        while (priority := self._next(now)) is not None:
            unsent, waiting = self._queues[priority].popitem(last=False)
            if waiting.over.cancelled():
                continue  # given up, and not noticed yet
            if not self.in_flight_tokens:
                self.pace.begin(now)
            allowed = min(self._room_tokens, self._part_tokens(priority, now))
            tokens = unsent.send(max(allowed, unsent.next_tokens))
            self.waiting_tokens -= tokens
            self.in_flight_tokens += tokens
            self._parts_in_flight[priority] += 1
            waiting.over.set_result(None)

    def _next(self, now: float) -> Priority | None:
        """Whose turn it is, if the first of them may go now."""
        interactive, bulk = Priority.INTERACTIVE, Priority.BULK
        overdue = (
            self._queues[bulk]
            and now - _first(self._queues[bulk])[1].since_seconds
            > self._settings.bulk_patience_seconds
        )
        for priority in (bulk, interactive) if overdue else (interactive, bulk):
            if queue := self._queues[priority]:
                # Nobody passes the first of the first queue, or a long text would wait for ever.
                return priority if self._may_go(priority, _first(queue)[0], now) else None
        return None

    def _may_go(self, priority: Priority, unsent: Unsent, now: float) -> bool:
        if not self.in_flight_tokens:
            return True  # whatever its length: there is never more room
        if unsent.next_tokens > self._room_tokens:
            return False
        if priority is Priority.INTERACTIVE:
            return True
        parts = self._settings.bulk_parts
        if self._interactive_expected(now):
            # A second part would be in Triton's queue before the interactive request to come.
            parts = max(parts // 2, 1)
        return self._parts_in_flight[Priority.BULK] < parts

    @property
    def _room_tokens(self) -> int:
        return self._settings.max_in_flight_tokens - self.in_flight_tokens

    def _part_tokens(self, priority: Priority, now: float) -> int:
        """How large a part may be; a text is never cut, so a long one makes a larger part."""
        if priority is Priority.INTERACTIVE:
            return _LARGEST_PART_TOKENS
        seconds = self._settings.bulk_slice_seconds
        if self._interactive_expected(now):
            seconds /= 3
        # What many parts at once achieve is shared by them.
        tokens = self.pace.tokens_per_second * seconds * 2 / self._settings.bulk_parts
        return min(max(int(tokens), _LEAST_PART_TOKENS), _LARGEST_PART_TOKENS)

    def _interactive_expected(self, now: float) -> bool:
        return now - self._last_interactive_seconds < _EXPECTED_SECONDS

    def _busy(self, tokens: int) -> BusyError:
        budget = self._settings.max_load_tokens
        excess = max(self.load_tokens + tokens - budget, 1)
        seconds = min(math.ceil(excess / self.pace.tokens_per_second), _LONGEST_RETRY_SECONDS)
        return BusyError(
            f"the service is busy: {self.load_tokens} tokens of {budget} are waiting or running; "
            f"try again in {seconds} s",
            figures={
                "request_tokens": tokens,
                "load_tokens": self.load_tokens,
                "budget_tokens": budget,
            },
            retry_after_seconds=seconds,
        )


def _first(queue: OrderedDict[Unsent, _Waiting]) -> tuple[Unsent, _Waiting]:
    return next(iter(queue.items()))
