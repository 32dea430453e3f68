"""A steady load on the HTTP service whose right answers are known, and canary texts beside it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import numpy as np
from numpy.typing import NDArray

from bgem3_bench.real_texts import long_text, real_text_records

DIFFERENCE_LIMIT: Final = 5e-3
"""From the quiet server. BF16 rounds by the batch that a text is in; a wrong text is far off."""

DEADLINE_SECONDS: Final = 20.0
"""What each request gives the service; one that is not answered soon after it counts as lost."""

_SLACK_SECONDS: Final = 10.0
_ALL_MODES: Final = ["dense", "sparse", "colbert"]
# Nothing is taken from, or left to, equal texts on their way.
_HEADERS: Final = {"Cache-Control": "no-store", "X-Timeout-Seconds": str(DEADLINE_SECONDS)}
# A query, and texts long enough to be rounded in more than one way.
_CANARY: Final = {
    "texts": [
        "The canary sings: order QX-7741-B, 退款 within 14 days.",
        long_text(100, "en", seed=1),
        long_text(300, "zh", seed=2),
    ],
    "mode": _ALL_MODES,
}
_CANARY_INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Request:
    """A request, and the numbers that a quiet server answered it with.

    Attributes:
        kind: What it is, in a word or two.
        route: Of the service.
        body: JSON.
        expected: All numbers of the answer in one order; None for one that is to be refused.
    """

    kind: str
    route: str
    body: Mapping[str, Any]
    expected: NDArray[np.float32] | None


@dataclass(frozen=True)
class Sent:
    """What came of a request.

    Attributes:
        phase: Of the load in which it was sent.
        kind: Of the request.
        at_seconds: When it was sent, from the beginning.
        seconds: Until its answer was read.
        status: Of the answer; 0 where there was none.
        error: What there was instead; empty where there was one.
        difference: The largest between its numbers and those of the quiet server; None where it
            was refused.
    """

    phase: str
    kind: str
    at_seconds: float
    seconds: float
    status: int
    error: str
    difference: float | None

    @property
    def admitted(self) -> bool:
        """Whether it was answered with what it asked for."""
        return self.status == 200


class SoakLoad:
    """Sends requests to a service, and keeps what came of them."""

    def __init__(self, session: aiohttp.ClientSession, url: str, seed: int) -> None:
        """Make one; nothing is sent yet.

        Args:
            session: Without a limit of connections.
            url: Of the service.
            seed: The same one sends the same requests, as far as time allows.
        """
        self.session = session
        self.sent: list[Sent] = []
        self.canary: list[Sent] = []
        self._url = url
        self._choice = random.Random(seed)
        self._began = time.monotonic()
        self._requests: list[Request] = []
        self._weights: list[float] = []
        self._canary: Request | None = None

    @property
    def now_seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._began

    async def learn(self) -> None:
        """Ask a quiet service for the right answers, one request after the other."""
        for weight, kind, route, bodies in _bodies(self._choice):
            for body in bodies:
                status, content = await self._post(route, body)
                if status not in (200, 422):
                    raise RuntimeError(f"{kind}: {status} {content[:300]!r} from a quiet service")
                expected = _numbers(content) if status == 200 else None
                self._requests.append(Request(kind, route, body, expected))
                self._weights.append(weight / len(bodies))
        _, content = await self._post("/embed", _CANARY)
        self._canary = Request("canary", "/embed", _CANARY, _numbers(content))

    async def saturate(self, callers: int, seconds: float, phase: str) -> float:
        """Return how many requests a second are answered when all callers always have one."""
        end = self.now_seconds + seconds
        first = len(self.sent)

        async def caller() -> None:
            while self.now_seconds < end:
                self.sent.append(await self._send(self._pick(), phase))

        await asyncio.gather(*(caller() for _ in range(callers)))
        # Until the last answer: those that were under way at the end are counted too.
        took = self.now_seconds - end + seconds
        return sum(sent.admitted for sent in self.sent[first:]) / took

    async def arrive(self, requests_per_second: float, seconds: float, phase: str) -> None:
        """Send at random times, so many a second, whether earlier answers have come or not."""
        due = self.now_seconds
        end = due + seconds
        async with asyncio.TaskGroup() as group:
            while (due := due + self._choice.expovariate(requests_per_second)) < end:
                await asyncio.sleep(due - self.now_seconds)
                group.create_task(self._keep(self._pick(), phase))

    async def watch_canary(self) -> None:
        """Send the same texts again and again, until cancelled."""
        assert self._canary is not None
        while True:
            self.canary.append(await self._send(self._canary, "canary"))
            await asyncio.sleep(_CANARY_INTERVAL_SECONDS)

    def _pick(self) -> Request:
        return self._choice.choices(self._requests, self._weights)[0]

    async def _keep(self, request: Request, phase: str) -> None:
        self.sent.append(await self._send(request, phase))

    async def _send(self, request: Request, phase: str) -> Sent:
        at = self.now_seconds
        status, error, difference = 0, "", None
        try:
            status, content = await self._post(request.route, request.body)
            if status == 200:
                difference = _difference(request.expected, content)
        except (aiohttp.ClientError, TimeoutError) as failure:
            error = type(failure).__name__
        seconds = self.now_seconds - at
        return Sent(phase, request.kind, at, seconds, status, error, difference)

    async def _post(self, route: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        async with self.session.post(
            self._url + route,
            json=body,
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS + _SLACK_SECONDS),
        ) as answer:
            return answer.status, await answer.read()


def _bodies(
    choice: random.Random,
) -> list[tuple[float, str, str, list[dict[str, Any]]]]:
    """Return weight, kind, route and bodies of what is sent."""
    records = real_text_records()
    queries = [record.text for record in records if record.kind == "short"]
    passages = [record.text for record in records if record.kind == "passage"]
    long_texts = [
        long_text(tokens, language, seed)
        for seed, (tokens, language) in enumerate([(700, "en"), (1000, "zh"), (1500, "de")])
    ]

    def some(texts: Sequence[str], count: int) -> list[str]:
        return choice.sample(texts, count)

    return [
        (35, "query", "/embed", [{"texts": [text]} for text in some(queries, 20)]),
        (
            20,
            "hybrid query",
            "/embed",
            [{"texts": [text], "mode": ["dense", "sparse"]} for text in some(queries, 20)],
        ),
        (
            15,
            "passages, all",
            "/embed",
            [{"texts": some(passages, 4), "mode": _ALL_MODES} for _ in range(10)],
        ),
        (
            10,
            "OpenAI",
            "/v1/embeddings",
            [{"model": "bge_m3", "input": some(passages, 2)} for _ in range(10)],
        ),
        (
            8,
            "rerank",
            "/rerank",
            [{"query": choice.choice(queries), "documents": some(passages, 4)} for _ in range(10)],
        ),
        (4, "bulk", "/embed", [{"texts": some(passages, 16)} for _ in range(5)]),
        (3, "long text", "/embed", [{"texts": [text]} for text in long_texts]),
        (5, "mistake", "/embed", [{"texts": []}, {"texts": ["a"], "mode": "dens"}]),
    ]


def _numbers(content: bytes) -> NDArray[np.float32]:
    """Return all numbers of an answer in an order that does not depend on them."""
    found: list[float] = []

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                collect(value[key])
        elif isinstance(value, list):
            # Ranked results come in the order of their scores.
            ranked = value and isinstance(value[0], dict) and "index" in value[0]
            for item in sorted(value, key=lambda item: item["index"]) if ranked else value:
                collect(item)
        elif isinstance(value, int | float):  # true and false too
            found.append(value)

    collect(json.loads(content))
    return np.array(found, np.float32)


def _difference(expected: NDArray[np.float32] | None, content: bytes) -> float:
    """Return the largest difference; infinite where the answer has another form."""
    actual = _numbers(content)
    if expected is None or expected.shape != actual.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(expected - actual).max())
