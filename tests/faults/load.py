"""Steady load from callers of several kinds, each request held against its deadline and its answer.

What a caller may get is the right answer, or an error within its time. Everything else is a
mistake of the server's, whatever was done to it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Final, Protocol, Self

import httpx
import numpy as np
from faults.questions import MODES, Answer, Question, RightAnswers, answer_of

from bgem3_client import BgeM3Error, Client, RetryPolicy

DEADLINE_SECONDS: Final = 5.0
"""What each request is given."""

SLACK_SECONDS: Final = 5.0
"""A caller that has no answer so long after its deadline has been forgotten."""

CALLERS_OF_A_KIND: Final = 3

# Of right answers alone, before all is said to be well again.
_STRETCH_SECONDS: Final = 0.5
_STRETCH_REQUESTS: Final = len(MODES)
# The machine is shared, and the callers are not what is tested.
_PAUSE_SECONDS: Final = 0.01
_PAUSE_AFTER_FAILURE_SECONDS: Final = 0.1


class Outcome(Enum):
    """What became of a request."""

    RIGHT = "right"
    FAILED = "failed"
    """It got an error, in time."""
    WRONG = "wrong"
    UNANSWERED = "unanswered"
    """It got nothing, or too late."""


@dataclass(frozen=True)
class Sent:
    """A request that has ended; times are of the monotonic clock."""

    began_seconds: float
    ended_seconds: float
    outcome: Outcome
    detail: str = ""


class RefusedError(Exception):
    """The answer was an error; the message names its kind."""


class Asker(Protocol):
    """A way to a server; used by one thread."""

    def ask(self, question: Question) -> Sequence[Answer]:
        """Return an answer for each text.

        Raises:
            RefusedError: There was an error instead.
        """

    def close(self) -> None:
        """Hang up."""


class TritonAsker:
    """Our client at one of Triton's ports; it never tries again."""

    def __init__(self, url: str) -> None:
        self._client = Client(
            url, timeout_seconds=DEADLINE_SECONDS, retries=RetryPolicy(attempts=1)
        )

    def ask(self, question: Question) -> Sequence[Answer]:
        """See Asker."""
        try:
            embeddings = self._client.encode(question.texts, question.modes)
        except BgeM3Error as error:
            raise RefusedError(type(error).__name__) from error
        return [answer_of(embedding, question.modes) for embedding in embeddings]

    def close(self) -> None:
        """See Asker."""
        self._client.close()


class ServiceAsker:
    """A plain HTTP client of the service, in its native dialect."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(
            base_url=url,
            # The service keeps the deadline; this only ends what it has forgotten.
            timeout=DEADLINE_SECONDS + SLACK_SECONDS,
            headers={"x-timeout-seconds": str(DEADLINE_SECONDS), "cache-control": "no-store"},
        )

    def ask(self, question: Question) -> Sequence[Answer]:
        """See Asker."""
        body = {"texts": question.texts, "mode": question.modes}
        try:
            answer = self._client.post("/embed", json=body)
        except httpx.TransportError as error:
            raise RefusedError(type(error).__name__) from error
        content = answer.json()
        if answer.status_code != httpx.codes.OK:
            raise RefusedError(f"{answer.status_code} {content['code']}")
        return _native_answers(content, len(question.texts))

    def close(self) -> None:
        """See Asker."""
        self._client.close()


class Load:
    """Callers that ask without end; leave the block to end them."""

    def __init__(
        self, right: RightAnswers, askers: Sequence[tuple[str, Callable[[], Asker]]]
    ) -> None:
        """Prepare callers.

        Args:
            right: What they ask, and what is right.
            askers: The name of each kind of caller, and what makes one.
        """
        self._right = right
        self._ended = threading.Event()
        self._callers = [
            _Caller(kind, make(), right, number, self._ended)
            for number, (kind, make) in enumerate(list(askers) * CALLERS_OF_A_KIND)
        ]

    def __enter__(self) -> Self:
        for caller in self._callers:
            caller.thread.start()
        self.wait_well(time.monotonic(), timeout_seconds=60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        for caller in self._callers:
            caller.thread.join(DEADLINE_SECONDS + SLACK_SECONDS + 5)
            caller.asker.close()

    def in_flight(self) -> int:
        """Return how many requests are under way."""
        return sum(caller.asking_since is not None for caller in self._callers)

    def wait_well(self, since_seconds: float, timeout_seconds: float) -> None:
        """Return when every caller has had right answers alone for a while.

        Raises:
            AssertionError: That did not come about in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not all(caller.is_well(since_seconds) for caller in self._callers):
            assert time.monotonic() < deadline, (
                f"not well again after {timeout_seconds} s: {self.ended_since(since_seconds)[-12:]}"
            )
            time.sleep(0.02)

    def ended_since(self, since_seconds: float) -> list[Sent]:
        """Return the requests that ended after a moment, and those that are overdue now."""
        sent = [one for caller in self._callers for one in caller.ended_since(since_seconds)]
        return sorted(sent, key=lambda one: one.ended_seconds)


@dataclass
class Toll:
    """What a fault cost, over all the times that it was injected."""

    fault: str
    injections: int = 0
    in_flight: list[int] = field(default_factory=list)
    recovery_seconds: list[float] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    mistakes: list[Sent] = field(default_factory=list)

    def count(self, in_flight: int, injected_seconds: float, sent: Sequence[Sent]) -> None:
        """Add one injection, and the requests that ended after it.

        The time to recover is that until the last request ended that was not answered rightly.
        """
        self.injections += 1
        self.in_flight.append(in_flight)
        self.outcomes.update(one.outcome for one in sent)
        self.failures.update(one.detail for one in sent if one.outcome is Outcome.FAILED)
        self.mistakes += [one for one in sent if one.outcome in (Outcome.WRONG, Outcome.UNANSWERED)]
        failed = [one.ended_seconds for one in sent if one.outcome is not Outcome.RIGHT]
        self.recovery_seconds.append(max(failed, default=injected_seconds) - injected_seconds)

    def row(self) -> str:
        """Return it as a row of the table in docs/reliability.md."""
        recovery = (
            f"{statistics.median(self.recovery_seconds):.1f} s ({max(self.recovery_seconds):.1f} s)"
            if any(self.recovery_seconds)
            else "nobody noticed"
        )
        said = ", ".join(f"`{kind}` {count:,}" for kind, count in self.failures.most_common())
        cells = (
            self.fault,
            str(self.injections),
            f"{statistics.mean(self.in_flight):.0f}",
            f"{self.outcomes.total():,}",
            str(self.outcomes[Outcome.WRONG]),
            str(self.outcomes[Outcome.UNANSWERED]),
            recovery,
            said or "-",
        )
        return f"| {' | '.join(cells)} |"


class _Caller:
    """A thread that asks one question after the other."""

    def __init__(
        self, kind: str, asker: Asker, right: RightAnswers, number: int, ended: threading.Event
    ) -> None:
        self.asker = asker
        self.asking_since: float | None = None
        self.thread = threading.Thread(target=self._run, name=f"{kind}-{number}", daemon=True)
        self._right = right
        self._questions = right.questions(number)
        self._ended = ended
        self._sent: list[Sent] = []

    def is_well(self, since_seconds: float) -> bool:
        """Whether enough right answers in a row have come, to requests sent since then."""
        row: list[Sent] = []
        for one in reversed(self._sent):
            if one.began_seconds < since_seconds or one.outcome is not Outcome.RIGHT:
                break
            row.append(one)
        return (
            len(row) >= _STRETCH_REQUESTS
            and row[0].ended_seconds - row[-1].began_seconds >= _STRETCH_SECONDS
        )

    def ended_since(self, since_seconds: float) -> list[Sent]:
        """Return what has ended since then, and what should have."""
        sent = [one for one in self._sent if one.ended_seconds >= since_seconds]
        now = time.monotonic()
        began = self.asking_since
        if began is not None and now - began > DEADLINE_SECONDS + SLACK_SECONDS:
            sent.append(Sent(began, now, Outcome.UNANSWERED, f"{self.thread.name} still waits"))
        return sent

    def _run(self) -> None:
        while not self._ended.is_set():
            sent = self._ask(next(self._questions))
            self._sent.append(sent)
            is_right = sent.outcome is Outcome.RIGHT
            self._ended.wait(_PAUSE_SECONDS if is_right else _PAUSE_AFTER_FAILURE_SECONDS)

    def _ask(self, question: Question) -> Sent:
        began = self.asking_since = time.monotonic()
        try:
            answers = self.asker.ask(question)
        except RefusedError as refused:
            outcome, detail = Outcome.FAILED, str(refused)
        except Exception as error:  # noqa: BLE001 - an answer that nobody can read
            outcome, detail = Outcome.WRONG, f"{self.thread.name}: {error!r}"
        else:
            mistakes = self._right.mistakes(question, answers)
            outcome = Outcome.WRONG if mistakes else Outcome.RIGHT
            detail = f"{self.thread.name}: {mistakes} of {question}" if mistakes else ""
        ended = time.monotonic()
        self.asking_since = None
        if outcome is not Outcome.WRONG and ended - began > DEADLINE_SECONDS + SLACK_SECONDS:
            outcome, detail = Outcome.UNANSWERED, f"{self.thread.name}: {detail} too late"
        return Sent(began, ended, outcome, detail)


def _native_answers(content: dict[str, Any], texts: int) -> list[Answer]:
    dense = content.get("embeddings", [None] * texts)
    sparse = content.get("sparse_embeddings", [None] * texts)
    colbert = content.get("colbert_embeddings", [None] * texts)
    return [
        Answer(
            dense=None if one is None else np.array(one, np.float32),
            sparse=None if two is None else dict(zip(two["indices"], two["values"], strict=True)),
            colbert=None if three is None else np.array(three, np.float32),
        )
        for one, two, three in zip(dense, sparse, colbert, strict=True)
    ]
