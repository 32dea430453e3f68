"""Texts to representations by Triton, each text once however many requests want it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from opentelemetry import trace

from bgem3_client import Embeddings
from bgem3_client.embeddings import Embedding
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import TEXT_ERRORS
from bgem3_server.gateway.calls.caching import Caching
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.error_table import error_kind
from bgem3_server.gateway.encoding.admission import Admission
from bgem3_server.gateway.encoding.in_flight import InFlight, WantedText, WantedTexts
from bgem3_server.gateway.encoding.one_text import detached
from bgem3_server.gateway.encoding.result_cache import ResultCache
from bgem3_server.gateway.encoding.scheduler import Scheduler
from bgem3_server.gateway.operations.metrics import Metrics
from bgem3_server.gateway.operations.tracing import stage, trace_headers
from bgem3_server.gateway.tritons.role import Role
from bgem3_server.gateway.tritons.triton import Triton
from bgem3_server.gateway.tritons.tritons import Done, Tritons

# What a hung Triton may hold a part's tokens for; callers have their own, shorter deadlines.
_LONGEST_ANSWER_SECONDS: Final = 3600.0

_tracer = trace.get_tracer("bgem3.gateway")


class ComputedTexts:
    """Sends texts to Triton in parts, and shares what comes back.

    A text that two requests want is sent by the one whose turn comes first. Each request keeps its
    own deadline, priority and place in the queue; one that gives up takes nothing from the other.
    Results are shared, failures are not: a part may fail for another text that was in it, so what
    another request has sent in vain is sent again by itself.
    """

    def __init__(
        self, tritons: Tritons, scheduler: Scheduler, cache: ResultCache, metrics: Metrics
    ) -> None:
        self._tritons = tritons
        self._scheduler = scheduler
        self._cache = cache
        self._metrics = metrics
        self._in_flight = InFlight()
        self._sent: set[asyncio.Task[None]] = set()

    def cached(
        self, texts: Iterable[str], options: EncodeOptions, call: Call
    ) -> dict[str, Embedding]:
        """Return those of some distinct texts whose representations are in the cache."""
        if call.caching is not Caching.SHARED:
            return {}
        return self._cache.find(texts, options)

    def tokens_on_their_way(
        self, texts: Iterable[str], options: EncodeOptions, call: Call
    ) -> dict[str, int]:
        """Return those of some texts that are computed for others now, and their lengths.

        They need not be counted, nor let in.
        """
        if call.caching is Caching.PRIVATE:
            return {}
        return self._in_flight.lengths(texts, options)

    async def compute(
        self, texts: Mapping[str, int], options: EncodeOptions, admission: Admission
    ) -> dict[str, Embedding]:
        """Return the representations of texts.

        Args:
            texts: Distinct ones, with their lengths after truncation; none is fine.
            options: What to compute.
            admission: Of the request. Texts that are on their way for others need no admission.

        Raises:
            InvalidInputError: Triton refuses a text; ``index`` names it among these.
            ServerError: Triton failed, or is away.
        """
        if not texts:
            return {}
        private = admission.call.caching is Caching.PRIVATE
        in_flight = InFlight() if private else self._in_flight
        answers = await self._compute(texts, options, admission, in_flight)
        lost = {text: tokens for text, tokens in texts.items() if text not in answers}
        if lost:
            with indices_in(list(texts), list(lost)):
                answers |= await self.compute_anew(lost, options, admission)
        return answers

    async def compute_anew(
        self, texts: Mapping[str, int], options: EncodeOptions, admission: Admission
    ) -> dict[str, Embedding]:
        """Return the representations of texts that were let in before; nobody shares the work.

        Args and errors are those of :meth:`compute`.
        """
        tokens = sum(texts.values())
        self._scheduler.readmit(tokens)
        admission.tokens_left += tokens
        return await self._compute(texts, options, admission, InFlight())

    async def _compute(
        self,
        texts: Mapping[str, int],
        options: EncodeOptions,
        admission: Admission,
        in_flight: InFlight,
    ) -> dict[str, Embedding]:
        """Return what this request, or another that shares ``in_flight``, has computed of texts.

        What is missing was sent by another request, and has failed.
        """
        wanted = WantedTexts(options, admission, in_flight, self._scheduler, self)
        in_flight.want(texts, wanted)
        try:
            await self._send_all(wanted)
            await _answered(wanted, list(texts))
        finally:
            in_flight.leave(wanted)
        for text in wanted.texts:
            if text.answer is not None:
                admission.call.was_served_by(text.answered_by)
        return {text.text: text.answer for text in wanted.texts if text.answer is not None}

    async def _send_all(self, wanted: WantedTexts) -> None:
        """Return when each text was sent, by this request or by others, or one part has failed."""
        if not wanted.next_tokens:
            return
        # Not the current span: what is sent while others wait is no part of the waiting.
        with _tracer.start_span("queue"):
            while wanted.next_tokens:
                await self._scheduler.turn(wanted.admission.priority, wanted)
                if any(task.done() and task.exception() for task in wanted.parts):
                    break

    def send(self, part: Sequence[WantedText], wanted: WantedTexts) -> asyncio.Task[None]:
        """Send one part; its tokens count until Triton has answered, whoever still waits."""
        admission = wanted.admission
        if not admission.texts_sent:
            self._begin(admission)
        admission.texts_sent += len(part)
        # Its turn may come while another request is at work.
        task = asyncio.get_running_loop().create_task(
            self._answer(part, wanted), context=wanted.context.copy()
        )
        self._sent.add(task)  # the event loop itself would forget it
        tokens = sum(text.tokens for text in part)
        task.add_done_callback(partial(self._done, admission, tokens))
        return task

    def _begin(self, admission: Admission) -> None:
        """The first part's turn has come."""
        seconds = time.monotonic() - admission.since_seconds
        admission.call.queue_seconds = seconds
        self._metrics.queue_seconds.labels(admission.priority.name.lower()).observe(seconds)

    def _done(self, admission: Admission, tokens: int, task: asyncio.Task[None]) -> None:
        self._sent.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._scheduler.done(admission.priority, tokens, answered=error is None)
        if error is not None:
            self._metrics.triton_errors.labels(error_kind(error).code).inc()

    async def _answer(self, part: Sequence[WantedText], wanted: WantedTexts) -> None:
        """Have a part computed, and give each request what it wants of it."""
        texts, options = [text.text for text in part], wanted.options
        try:
            with stage("triton"):
                done = await self._encode(part, options)
        finally:
            wanted.in_flight.forget(part, options)
        embeddings = done.result
        # What is kept is the primary's: it comes without a mark when the primary is back.
        kept = done.by is not Role.FALLBACK
        if kept and wanted.admission.call.caching is not Caching.PRIVATE:
            self._cache.keep(texts, embeddings, options)
        for index, text in enumerate(part):
            answer = embeddings[index]
            if len(part) > 1 and any(request is not wanted for request in text.wanted_by):
                # Another request must not keep the whole part in memory for one text.
                answer = detached(answer, options)
            text.answer, text.answered_by = answer, done.by

    async def _encode(self, part: Sequence[WantedText], options: EncodeOptions) -> Done[Embeddings]:
        texts = [text.text for text in part]

        async def ask(triton: Triton) -> Embeddings:
            return await triton.client.encode(
                texts,
                options.outputs,
                max_length=options.max_length,
                truncate=options.truncate,
                return_tokens=options.return_tokens,
                return_hidden_states=options.return_hidden_states,
                colbert_dtype=options.colbert_dtype,
                timeout_seconds=_LONGEST_ANSWER_SECONDS,
                headers=trace_headers(),
            )

        return await self._tritons.do(ask, sum(text.tokens for text in part))


async def _answered(wanted: WantedTexts, texts: Sequence[str]) -> None:
    """Wait for all answers.

    Raises:
        InvalidInputError: A part that the request itself has sent was refused for a text;
            ``index`` is the text's among ``texts``.
        NotFiniteError: The same where the model gave NaN or infinity for a text.
        ServerError: Such a part has failed.
    """
    # Not gather: it would cancel what Triton is at work on.
    if wanted.parts:
        await asyncio.wait(wanted.parts, return_when=asyncio.FIRST_EXCEPTION)
    for task, part in wanted.parts.items():
        if task.done() and (error := task.exception()):
            if isinstance(error, TEXT_ERRORS) and error.index is not None:
                index = texts.index(part[error.index].text)
                raise type(error)(str(error), index) from error
            raise error
    if (
        others := {text.task for text in wanted.texts if text.task is not None}
        - wanted.parts.keys()
    ):
        await asyncio.wait(others)


@contextmanager
def indices_in(texts: Sequence[str], others: Sequence[str]) -> Iterator[None]:
    """Have an error about one of ``others`` name the first of ``texts`` that is the same."""
    try:
        yield
    except TEXT_ERRORS as error:
        if error.index is None:
            raise
        raise type(error)(str(error), texts.index(others[error.index])) from error
