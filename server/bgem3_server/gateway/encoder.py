"""Texts to representations: the one way that every dialect takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np
from opentelemetry import trace

from bgem3_backend.packed_texts import Int32Array
from bgem3_client import AsyncClient, Embeddings, InvalidInputError
from bgem3_client.encode_request import EncodeOptions, encode_texts
from bgem3_client.model_info import ModelInfo
from bgem3_server.gateway.call import Call, Priority
from bgem3_server.gateway.error_table import error_kind
from bgem3_server.gateway.errors import TooLargeError
from bgem3_server.gateway.metrics import Metrics
from bgem3_server.gateway.result_memory import ResultMemory, answer_bytes
from bgem3_server.gateway.scheduler import Scheduler
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.token_counter import TokenCounter

# What a hung Triton may hold a part's tokens for; callers have their own, shorter deadlines.
_LONGEST_ANSWER_SECONDS: Final = 3600.0

_tracer = trace.get_tracer("bgem3.gateway")


class Encoder:
    """Counts, admits, cuts, sends, and puts the answers together."""

    def __init__(
        self,
        client: AsyncClient,
        counter: TokenCounter,
        scheduler: Scheduler,
        memory: ResultMemory,
        metrics: Metrics,
        settings: GatewaySettings,
    ) -> None:
        self._client = client
        self._counter = counter
        self._scheduler = scheduler
        self._memory = memory
        self._metrics = metrics
        self._settings = settings
        self._model: ModelInfo | None = None
        self._sent: set[asyncio.Task[Embeddings]] = set()

    async def model_info(self) -> ModelInfo:
        """Return the sizes of the model's vectors, asked for once.

        Raises:
            ServerError: Triton did not say.
        """
        if self._model is None:
            self._model = await self._client.model_info()
        return self._model

    async def encode(self, texts: Sequence[str], options: EncodeOptions, call: Call) -> Embeddings:
        """Return the representations of texts, in their order.

        A caller that goes away, or whose deadline passes, gives up its place in the queue; what
        Triton already has is left to finish, and counts until then.

        Args:
            texts: One at least.
            options: What to compute.
            call: The request that they belong to; its counts are filled in.

        Raises:
            InvalidInputError: A text is wrong; ``index`` names it.
            TooLargeError: More texts or tokens than the service takes.
            BusyError: No room now.
            ResultMemoryError: No memory for the answer now.
            DeadlineError: The call's deadline has passed.
            ServerError: Triton failed, or is away.
        """
        self._check_count(texts)
        async with call.deadline.enforced():
            self._scheduler.check_open()
            with _tracer.start_as_current_span("tokenize") as span:
                lengths = await self._counter.count(texts)
                span.set_attribute("bgem3.texts", len(texts))
            _check_lengths(lengths, options)
            tokens = np.minimum(lengths, options.max_length)
            total = int(tokens.sum())
            size = answer_bytes(options, len(texts), total, await self.model_info())
            self._memory.reserve(size, call)
            self._scheduler.admit(total)
            embeddings = await self._encode_parts(texts, _Pending(tokens), options, call)
        truncated = int(embeddings.truncated.sum())
        call.texts += len(texts)
        call.tokens += total
        call.truncated += truncated
        return embeddings

    async def _encode_parts(
        self, texts: Sequence[str], pending: _Pending, options: EncodeOptions, call: Call
    ) -> Embeddings:
        """Send an admitted request part by part, and wait for all answers."""
        priority = call.priority
        if priority is None:
            small = pending.tokens_left <= self._settings.interactive_tokens
            priority = Priority.INTERACTIVE if small else Priority.BULK
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent: list[asyncio.Task[Embeddings]] = []
        try:
            with _tracer.start_as_current_span("queue"):
                while pending.tokens_left:
                    tokens = await self._scheduler.turn(priority, pending.next_tokens, pending.take)
                    if not sent:
                        call.queue_seconds = loop.time() - began
                        self._metrics.queue_seconds.labels(priority.name.lower()).observe(
                            call.queue_seconds
                        )
                    sent.append(self._send(pending.part, texts, tokens, priority, options, call))
                    if any(task.done() and task.exception() for task in sent):
                        break
        finally:
            self._scheduler.withdraw(pending.tokens_left)
        # Not gather: it would cancel what Triton is at work on.
        await asyncio.wait(sent, return_when=asyncio.FIRST_EXCEPTION)
        for task in sent:
            if task.done() and (error := task.exception()):
                raise error
        return Embeddings.concatenate([task.result() for task in sent])

    def _send(
        self,
        part: slice,
        texts: Sequence[str],
        tokens: int,
        priority: Priority,
        options: EncodeOptions,
        call: Call,
    ) -> asyncio.Task[Embeddings]:
        """Send one part; its tokens count until Triton has answered, whoever still waits."""
        task = asyncio.create_task(self._answer(part, texts, options, call))
        self._sent.add(task)  # the event loop itself would forget it

        def done(_: asyncio.Task[Embeddings]) -> None:
            self._sent.discard(task)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._scheduler.done(priority, tokens, answered=error is None)
            if error is not None:
                self._metrics.triton_errors.labels(error_kind(error).code).inc()

        task.add_done_callback(done)
        return task

    async def _answer(
        self, part: slice, texts: Sequence[str], options: EncodeOptions, call: Call
    ) -> Embeddings:
        with _tracer.start_as_current_span("triton"):
            try:
                return await self._client.encode(
                    texts[part],
                    options.outputs,
                    max_length=options.max_length,
                    truncate=options.truncate,
                    return_tokens=options.return_tokens,
                    colbert_dtype=options.colbert_dtype,
                    timeout_seconds=_LONGEST_ANSWER_SECONDS,
                    headers=call.headers,
                )
            except InvalidInputError as error:
                if error.index is None:
                    raise
                raise InvalidInputError(str(error), index=part.start + error.index) from error

    def _check_count(self, texts: Sequence[str]) -> None:
        if len(texts) > self._settings.max_texts:
            raise TooLargeError(
                f"the request has {len(texts)} texts, and this service takes "
                f"{self._settings.max_texts} at once: send them in several requests",
                figures={"request_texts": len(texts), "limit_texts": self._settings.max_texts},
            )
        encode_texts(texts)  # refuses what no UTF-8 can stand for, and an empty list


class _Pending:
    """The texts of a request that were not sent yet.

    Attributes:
        part: The texts that were taken last.
        tokens_left: The tokens of those that follow.
    """

    def __init__(self, tokens: Int32Array) -> None:
        self.part = slice(0, 0)
        self.tokens_left = int(tokens.sum())
        self._tokens: list[int] = tokens.tolist()

    @property
    def next_tokens(self) -> int:
        """The length of the next text."""
        return self._tokens[self.part.stop]

    def take(self, room_tokens: int) -> int:
        """Take as many texts as there is room for, one at least; return their tokens."""
        start = self.part.stop
        taken, stop = self._tokens[start], start + 1
        while stop < len(self._tokens) and taken + self._tokens[stop] <= room_tokens:
            taken += self._tokens[stop]
            stop += 1
        self.part = slice(start, stop)
        self.tokens_left -= taken
        return taken


def _check_lengths(lengths: Int32Array, options: EncodeOptions) -> None:
    """Refuse a text that is too long and must not be cut, before any is computed."""
    if options.truncate:
        return
    for index in np.flatnonzero(lengths > options.max_length)[:1]:
        raise InvalidInputError(
            f"the text has {lengths[index]} tokens, and max_length is {options.max_length}: "
            "shorten it, or send truncate true to have it cut",
            index=int(index),
        )
