"""Several servers as one: whoever is free takes the next request, whoever fails gets a rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import (
    TEXT_ERRORS,
    BgeM3Error,
    DeadlineError,
    InternalServerError,
    ServerError,
    ServerOutOfMemoryError,
    UnavailableError,
)
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.errors import ModelChangedError

# A request that servers fail at, and not for want of room, is not theirs for ever.
_REQUEST_FAILURES: Final = 3
PASSING: Final = (UnavailableError, DeadlineError, InternalServerError)
"""A server may get over these by itself, and is waited for where there is no other."""

# Together a minute and a half.
_RESTS: Final = RetryPolicy(attempts=9, initial_backoff_seconds=0.5, max_backoff_seconds=30.0)


@dataclass(frozen=True)
class PoolSettings:
    """How a pool works.

    Attributes:
        in_flight: Requests on their way to each server at the same time.
        timeout_seconds: Time allowed for one request.
        rests: How long a server that failed is left alone, by how often it did; when all are
            gone, so many times they are looked for.
    """

    in_flight: int = 8
    timeout_seconds: float = 600.0
    rests: RetryPolicy = _RESTS


@dataclass(eq=False)
class _Request:
    texts: list[str]
    answer: asyncio.Future[Embeddings]
    failures: int = 0


class EndpointPool:
    """Sends requests to several servers of one model; it lives in one event loop."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        options: EncodeOptions,
        settings: PoolSettings,
        say: Callable[[str], None],
    ) -> None:
        """Make one.

        Args:
            endpoints: One at least.
            options: How the texts are encoded.
            settings: See there.
            say: Told, in words, when a server fails and when it is back.
        """
        self._endpoints = endpoints
        self._options = options
        self._settings = settings
        self._say = say
        self._numbers = count()
        self._waiting: asyncio.PriorityQueue[tuple[int, _Request]] = asyncio.PriorityQueue()
        self._unanswered: set[_Request] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._end: BaseException | None = None
        self._model: ServedModel | None = None

    async def open(self, ready_seconds: float) -> ServedModel:
        """Return what the servers serve; those that are not there yet are asked again later.

        Args:
            ready_seconds: So long a server may take to answer the first time.

        Raises:
            UnavailableError: None of them answered.
            ModelChangedError: They serve unlike models or versions.
            ServerError: One of them answers, and not as a server of this project would.
        """
        found = await asyncio.gather(
            *(self._first_answer(endpoint, ready_seconds) for endpoint in self._endpoints)
        )
        models = {model: endpoint for model, endpoint in found if isinstance(model, ServedModel)}
        if not models:
            raise UnavailableError(
                "; ".join(f"{endpoint.name}: {error}" for error, endpoint in found)
            )
        if len(models) > 1:
            raise ModelChangedError(
                "the servers must serve the same version of one model: "
                + ", ".join(f"{endpoint.name} serves {model}" for model, endpoint in models.items())
            )
        self._model = next(iter(models))
        for answer, endpoint in found:
            if isinstance(answer, ServedModel):
                endpoint.up.set()
        for answer, endpoint in found:
            if isinstance(answer, ServerError):
                self._rest(endpoint, answer)
            for _ in range(self._settings.in_flight):
                self._start(self._work(endpoint))
        return self._model

    async def encode(self, texts: list[str]) -> Embeddings:
        """Return the representations of the texts of one request.

        Raises:
            InvalidInputError: A server refuses it; ``index`` may name the text.
            NotFiniteError: The model gave NaN or infinity for the text of that ``index``.
            ServerOutOfMemoryError: There was not enough memory for it.
            ServerError: The servers failed at it several times, or all of them are gone.
        """
        if self._end is not None:
            raise self._end
        request = _Request(texts, asyncio.get_running_loop().create_future())
        self._unanswered.add(request)
        try:
            self._waiting.put_nowait((next(self._numbers), request))
            return await request.answer
        finally:
            self._unanswered.discard(request)

    async def close(self) -> None:
        """Close the clients of all endpoints; what is under way ends."""
        for task in self._tasks:
            task.cancel()
        for endpoint in self._endpoints:
            await endpoint.client.close()

    async def _first_answer(
        self, endpoint: Endpoint, ready_seconds: float
    ) -> tuple[ServedModel | ServerError, Endpoint]:
        try:
            return await endpoint.wait_until_ready(ready_seconds), endpoint
        except (UnavailableError, DeadlineError) as error:
            return error, endpoint

    async def _work(self, endpoint: Endpoint) -> None:
        assert self._model is not None
        while True:
            await endpoint.up.wait()
            number, request = await self._waiting.get()
            if request.answer.done():  # nobody waits for it any more
                continue
            if not endpoint.up.is_set():  # it failed while this one waited for something to do
                self._waiting.put_nowait((number, request))
                continue
            try:
                embeddings = await endpoint.encode(
                    request.texts, self._options, self._model, self._settings.timeout_seconds
                )
            except (*TEXT_ERRORS, ServerOutOfMemoryError) as error:
                _fail(request, error)
            except ServerError as error:
                self._failed(endpoint, number, request, error)
            except BgeM3Error as error:
                _fail(request, error)
            else:
                endpoint.failures = 0
                if not request.answer.done():
                    request.answer.set_result(embeddings)

    def _failed(
        self, endpoint: Endpoint, number: int, request: _Request, error: ServerError
    ) -> None:
        if endpoint.up.is_set():
            self._rest(endpoint, error)
        if not isinstance(error, UnavailableError):
            request.failures += 1
        if request.failures >= _REQUEST_FAILURES:
            _fail(request, error)
        else:
            # Its number puts it before all that came later.
            self._waiting.put_nowait((number, request))

    def _rest(self, endpoint: Endpoint, error: ServerError) -> None:
        """Leave a server alone, and look again later."""
        endpoint.up.clear()
        endpoint.error = error
        if any(other.up.is_set() for other in self._endpoints):
            self._say(f"{endpoint.name} rests, the others go on: {error}")
        else:
            self._say(f"{endpoint.name}: {error}; waiting for it")
        self._start(self._revive(endpoint, error))

    async def _revive(self, endpoint: Endpoint, error: ServerError) -> None:
        assert self._model is not None
        while True:
            if all(map(self._is_lost, self._endpoints)):
                self._give_up(error)
                return
            endpoint.failures += 1
            asked_seconds = error.retry_after_seconds if isinstance(error, UnavailableError) else 0
            await asyncio.sleep(
                max(self._settings.rests.backoff_seconds(endpoint.failures), asked_seconds or 0)
            )
            try:
                await endpoint.check(self._model)
            except ServerError as again:
                endpoint.error = error = again
            else:
                self._say(f"{endpoint.name} is back")
                endpoint.up.set()
                return

    def _is_lost(self, endpoint: Endpoint) -> bool:
        """Whether a server is not worth waiting for when there is no other."""
        return not endpoint.up.is_set() and (
            not isinstance(endpoint.error, PASSING)
            or endpoint.failures >= self._settings.rests.attempts
        )

    def _give_up(self, error: BaseException) -> None:
        self._end = error
        for request in self._unanswered:
            _fail(request, error)

    def _start(self, coroutine: Any) -> None:  # noqa: ANN401 - Coroutine[Any, Any, None]
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # A mistake of ours: whoever waits for an answer must not wait for ever.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._give_up(error)


def _fail(request: _Request, error: BaseException) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
