"""Which requests are let in, and whose texts go to Triton next: both counted in tokens."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
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
    def since_seconds(self) -> float:
        """When the request was let in, by the monotonic clock."""

    @property
    def next_tokens(self) -> int:
        """The length of the next text; 0 where none is left."""

    def send(self, room_tokens: int) -> int:
        """Send texts of up to so many tokens, one text at least.

        Returns:
            Their tokens, to be given to :meth:`Scheduler.done` when they are answered.
        """


@dataclass(frozen=True)
class _Turn:
    """Whose turn it is, and how many tokens it may send."""

    priority: Priority
    unsent: Unsent
    tokens: int


class Scheduler:
    """The door and the queue before Triton.

    A request is admitted as a whole, or refused at once. Its texts then go to Triton in parts,
    each as large as there is room for when its turn comes. Interactive parts go first. Bulk parts
    are kept so small, by the pace that Triton is seen to have, that an interactive request never
    waits long behind one. That alone would starve them where interactive requests never end: a
    bulk request that was let in too long ago goes first, and may have as much in flight as all
    interactive ones together.

    All methods run in one event loop.

    Attributes:
        waiting_tokens: Admitted, and not yet sent.
        pace: Of the Triton that answers now.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.waiting_tokens = 0
        self.pace = Pace()
        self._settings = settings
        # In the order of their turns, with what is done when a turn is over.
        self._queues: dict[Priority, OrderedDict[Unsent, asyncio.Future[None]]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._in_flight_tokens = dict.fromkeys(Priority, 0)
        self._bulk_parts_in_flight = 0
        self._last_interactive_seconds = -math.inf

    @property
    def in_flight_tokens(self) -> int:
        """Sent, and not yet answered."""
        return sum(self._in_flight_tokens.values())

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
        if priority is Priority.INTERACTIVE:
            self._last_interactive_seconds = time.monotonic()
        queue = self._queues[priority]
        over = queue[unsent] = asyncio.get_running_loop().create_future()
        self._dispatch()
        try:
            await over
        finally:
            queue.pop(unsent, None)

    def skip(self, priority: Priority, unsent: Unsent) -> None:
        """None of the texts is left to send: whoever waits for their turn goes on at once."""
        if (over := self._queues[priority].pop(unsent, None)) is not None:
            over.set_result(None)

    def done(self, priority: Priority, tokens: int, *, answered: bool = True) -> None:
        """A part is no longer in flight; one that failed says nothing about the pace."""
        now = time.monotonic()
        if answered:
            self.pace.record(tokens, now)
        else:
            self.pace.begin(now)
        self._count_part(priority, -1, -tokens)
        self._dispatch()

    def use_pace(self, pace: Pace) -> None:
        """Another Triton answers from now on; what was seen of the last one is not its pace."""
        self.pace = pace
        pace.begin(time.monotonic())

    def _dispatch(self) -> None:
        now = time.monotonic()
        while (turn := self._next(now)) is not None:
            over = self._queues[turn.priority].pop(turn.unsent)
            if over.cancelled():
                continue  # given up, and not noticed yet
            if not self.in_flight_tokens:
                self.pace.begin(now)
            tokens = turn.unsent.send(turn.tokens)
            self.waiting_tokens -= tokens
            self._count_part(turn.priority, 1, tokens)
            over.set_result(None)

    def _next(self, now: float) -> _Turn | None:
        """Whose turn it is, if the first of them may go now."""
        interactive = next(iter(self._queues[Priority.INTERACTIVE]), None)
        bulk = next(iter(self._queues[Priority.BULK]), None)
        overdue = self._overdue_bulk(now)
        bulk_tokens = self._bulk_tokens(now, is_overdue=overdue is not None)
        firsts = [
            (Priority.INTERACTIVE, interactive, _LARGEST_PART_TOKENS),
            (Priority.BULK, overdue or bulk, bulk_tokens),
        ]
        for priority, unsent, tokens in reversed(firsts) if overdue else firsts:
            if unsent is None or not tokens:
                continue
            # Whatever its length when nothing is in flight: there is never more room.
            if self.in_flight_tokens and unsent.next_tokens > self._room_tokens:
                return None  # nobody passes it, or a long text would wait for ever
            return _Turn(priority, unsent, max(min(tokens, self._room_tokens), unsent.next_tokens))
        return None

    def _overdue_bulk(self, now: float) -> Unsent | None:
        """The bulk request that was let in first, if that is too long ago."""
        waiting = self._queues[Priority.BULK]
        oldest = min(waiting, key=lambda unsent: unsent.since_seconds, default=None)
        if oldest is None or now - oldest.since_seconds <= self._settings.bulk_patience_seconds:
            return None
        return oldest

    def _bulk_tokens(self, now: float, *, is_overdue: bool) -> int:
        """How large a bulk part may be now; a text is never cut, so a long one makes a larger one.

        Returns:
            Tokens; 0 where Triton has enough of them.
        """
        parts, seconds = self._settings.bulk_parts, self._settings.bulk_slice_seconds
        # What many parts at once achieve is shared by them.
        tokens = self.pace.tokens_per_second * seconds * 2 / parts
        if now - self._last_interactive_seconds < _EXPECTED_SECONDS:
            # A second part would be in Triton's queue before the interactive request to come.
            parts, tokens = max(parts // 2, 1), tokens / 3
        tokens = max(tokens, _LEAST_PART_TOKENS) if self._bulk_parts_in_flight < parts else 0
        if is_overdue:
            in_flight = self._in_flight_tokens
            fair = in_flight[Priority.INTERACTIVE] - in_flight[Priority.BULK]
            tokens = max(tokens, fair if fair >= _LEAST_PART_TOKENS else 0)
        return min(int(tokens), _LARGEST_PART_TOKENS)

    def _count_part(self, priority: Priority, parts: int, tokens: int) -> None:
        self._in_flight_tokens[priority] += tokens
        if priority is Priority.BULK:
            self._bulk_parts_in_flight += parts

    @property
    def _room_tokens(self) -> int:
        return self._settings.max_in_flight_tokens - self.in_flight_tokens

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
