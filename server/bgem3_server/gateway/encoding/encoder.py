"""Texts to representations: the one way that every dialect takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from opentelemetry import trace

from bgem3_backend.packed_texts import Int32Array
from bgem3_client import AsyncClient, Embeddings, InvalidInputError
from bgem3_client.encode_request import EncodeOptions, encode_texts
from bgem3_client.model_info import ModelInfo
from bgem3_server.gateway.calls.call import Call, Priority
from bgem3_server.gateway.calls.error_table import error_kind
from bgem3_server.gateway.calls.errors import TextTooLongError, TooLargeError
from bgem3_server.gateway.encoding.result_memory import ResultMemory, answer_bytes
from bgem3_server.gateway.encoding.scheduler import Scheduler
from bgem3_server.gateway.encoding.token_counter import TokenCounter
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.operations.tracing import stage, trace_headers
from bgem3_server.gateway.settings import GatewaySettings

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
        async with call.deadline.enforced():
            lengths = await self.count(texts)
            check_lengths(lengths, options)
            tokens = np.minimum(lengths, options.max_length)
            total = int(tokens.sum())
            size = answer_bytes(options, len(texts), total, await self.model_info())
            with self.admitted(total, size, call) as admission:
                return await self.encode_admitted(texts, tokens, options, admission)

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """Return how many tokens each text has, special tokens included and nothing cut.

        For requests that are encoded in several steps: :meth:`admitted` and then, as often as
        wanted, :meth:`encode_admitted`; all within the call's deadline.

        Args:
            texts: One at least.

        Returns:
            int32 [N].

        Raises:
            InvalidInputError: A text is wrong; ``index`` names it.
            TooLargeError: More texts than the service takes.
            BusyError: Nothing would be let in now, so nothing was counted.
            ServerError: Triton failed, or is away.
        """
        self._check_count(texts)
        self._scheduler.check_open()
        with stage("tokenize") as span:
            span.set_attribute("bgem3.texts", len(texts))
            return await self._counter.count(texts)

    @contextmanager
    def admitted(self, tokens: int, size_bytes: int, call: Call) -> Iterator[Admission]:
        """Let a request in as a whole; what of it was not sent is given back at the end.

        Args:
            tokens: All that will be encoded, after truncation.
            size_bytes: The most that its representations take at once; kept until the call's end.
            call: The request.

        Raises:
            TooLargeError: More tokens, or more memory, than the service takes.
            BusyError: No room now.
            ResultMemoryError: No memory for the answer now.
        """
        self._memory.reserve(size_bytes, call)
        self._scheduler.admit(tokens)
        priority = call.priority
        if priority is None:
            small = tokens <= self._settings.interactive_tokens
            priority = Priority.INTERACTIVE if small else Priority.BULK
        admission = Admission(call, priority, tokens)
        try:
            yield admission
        finally:
            self._scheduler.withdraw(admission.tokens_left)

    async def encode_admitted(
        self,
        texts: Sequence[str],
        tokens: Int32Array,
        options: EncodeOptions,
        admission: Admission,
    ) -> Embeddings:
        """Return the representations of texts that were let in: of some, or all, of a request's.

        Args:
            texts: One at least.
            tokens: int32 [N], their lengths after truncation.
            options: What to compute.
            admission: Of the request; its tokens, and its call's counts, are kept up.

        Raises:
            InvalidInputError: Triton refuses a text; ``index`` names it among these.
            ServerError: Triton failed, or is away.
        """
        embeddings = await self._encode_parts(texts, _Pending(tokens, admission), options)
        call = admission.call
        call.texts += len(texts)
        call.tokens += int(tokens.sum())
        call.truncated += int(embeddings.truncated.sum())
        return embeddings

    async def _encode_parts(
        self, texts: Sequence[str], pending: _Pending, options: EncodeOptions
    ) -> Embeddings:
        """Send texts part by part, and wait for all answers."""
        admission = pending.admission
        sent: list[asyncio.Task[Embeddings]] = []
        # Not the current span: what is sent while others wait is no part of the waiting.
        with _tracer.start_span("queue"):
            while pending.texts_left:
                tokens = await self._scheduler.turn(
                    admission.priority, pending.next_tokens, pending.take
                )
                if not admission.begun:
                    self._begin(admission)
                sent.append(self._send(pending.part, texts, tokens, options, admission))
                if any(task.done() and task.exception() for task in sent):
                    break
        # Not gather: it would cancel what Triton is at work on.
        await asyncio.wait(sent, return_when=asyncio.FIRST_EXCEPTION)
        for task in sent:
            if task.done() and (error := task.exception()):
                raise error
        return Embeddings.concatenate([task.result() for task in sent])

    def _begin(self, admission: Admission) -> None:
        """The first part's turn has come."""
        admission.begun = True
        seconds = time.monotonic() - admission.since_seconds
        admission.call.queue_seconds = seconds
        self._metrics.queue_seconds.labels(admission.priority.name.lower()).observe(seconds)

    def _send(
        self,
        part: slice,
        texts: Sequence[str],
        tokens: int,
        options: EncodeOptions,
        admission: Admission,
    ) -> asyncio.Task[Embeddings]:
        """Send one part; its tokens count until Triton has answered, whoever still waits."""
        task = asyncio.create_task(self._answer(part, texts, options))
        self._sent.add(task)  # the event loop itself would forget it

        def done(_: asyncio.Task[Embeddings]) -> None:
            self._sent.discard(task)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._scheduler.done(admission.priority, tokens, answered=error is None)
            if error is not None:
                self._metrics.triton_errors.labels(error_kind(error).code).inc()

        task.add_done_callback(done)
        return task

    async def _answer(
        self, part: slice, texts: Sequence[str], options: EncodeOptions
    ) -> Embeddings:
        with stage("triton"):
            try:
                return await self._client.encode(
                    texts[part],
                    options.outputs,
                    max_length=options.max_length,
                    truncate=options.truncate,
                    return_tokens=options.return_tokens,
                    return_hidden_states=options.return_hidden_states,
                    colbert_dtype=options.colbert_dtype,
                    timeout_seconds=_LONGEST_ANSWER_SECONDS,
                    headers=trace_headers(),
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


@dataclass
class Admission:
    """A request that was let in.

    Attributes:
        call: The request.
        priority: Of all its parts.
        tokens_left: Its tokens that were not sent to Triton yet.
        since_seconds: When it was let in, by the monotonic clock.
        begun: Whether any part of it was sent.
    """

    call: Call
    priority: Priority
    tokens_left: int
    since_seconds: float = field(default_factory=time.monotonic)
    begun: bool = False


class _Pending:
    """Texts of an admitted request that were not sent yet.

    Attributes:
        admission: Of the request.
        part: The texts that were taken last.
    """

    def __init__(self, tokens: Int32Array, admission: Admission) -> None:
        self.admission = admission
        self.part = slice(0, 0)
        self._tokens: list[int] = tokens.tolist()

    @property
    def texts_left(self) -> int:
        """How many texts follow."""
        return len(self._tokens) - self.part.stop

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
        self.admission.tokens_left -= taken
        return taken


def check_lengths(lengths: Int32Array, options: EncodeOptions) -> None:
    """Refuse a text that is too long and must not be cut, before any is computed.

    Args:
        lengths: int32 [N], of the texts as they came.
        options: Say how long they may be, and whether they may be cut.

    Raises:
        InvalidInputError: One is; ``index`` names it.
    """
    if options.truncate:
        return
    for index in np.flatnonzero(lengths > options.max_length)[:1]:
        raise TextTooLongError(
            f"the text has {lengths[index]} tokens, and max_length is {options.max_length}: "
            "shorten it, or send truncate true to have it cut",
            index=int(index),
        )
