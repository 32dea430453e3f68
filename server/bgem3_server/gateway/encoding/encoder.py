"""Texts to representations: the one way that every dialect takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from bgem3_backend.packed_texts import Int32Array
from bgem3_client import Embeddings
from bgem3_client.embeddings import Embedding
from bgem3_client.encode_request import EncodeOptions, encode_texts
from bgem3_client.errors import VersionChangedError
from bgem3_client.model_info import ModelInfo
from bgem3_server.gateway.calls.call import Call, Priority
from bgem3_server.gateway.calls.errors import TextTooLongError, TooLargeError
from bgem3_server.gateway.encoding.admission import Admission
from bgem3_server.gateway.encoding.computed_texts import ComputedTexts, indices_in
from bgem3_server.gateway.encoding.one_text import put_together
from bgem3_server.gateway.encoding.result_memory import ResultMemory, answer_bytes
from bgem3_server.gateway.encoding.scheduler import Scheduler
from bgem3_server.gateway.encoding.token_counter import TokenCounter
from bgem3_server.gateway.operations.tracing import stage
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.gateway.tritons.tritons import Tritons


class AnswersSome(Protocol):
    """Answers some requests instead, see :class:`~bgem3_server.gateway.encoding.canary.Canary`."""

    async def encode(
        self, texts: Sequence[str], options: EncodeOptions, call: Call
    ) -> Embeddings | None:
        """Return the representations of texts; None where that is left to others."""


class Encoder:
    """Counts, admits, has computed what is not there yet, and puts the answers together.

    Attributes:
        canary: Is asked first, for whole requests of one step; None where there is none.
    """

    def __init__(
        self,
        tritons: Tritons,
        counter: TokenCounter,
        scheduler: Scheduler,
        memory: ResultMemory,
        computed: ComputedTexts,
        settings: GatewaySettings,
    ) -> None:
        self._tritons = tritons
        self._counter = counter
        self._scheduler = scheduler
        self._memory = memory
        self._computed = computed
        self._settings = settings
        self._model: ModelInfo | None = None
        self.canary: AnswersSome | None = None

    async def model_info(self) -> ModelInfo:
        """Return the sizes of the model's vectors, asked for once.

        Raises:
            ServerError: Triton did not say.
        """
        if self._model is None:
            done = await self._tritons.do(lambda triton: triton.client.model_info())
            self._model = done.result
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
            self._check_count(texts)
            if self.canary is not None:
                answered = await self.canary.encode(texts, options, call)
                if answered is not None:
                    return answered
            distinct = list(dict.fromkeys(texts))
            answers = self._computed.cached(distinct, options, call)
            missing = [text for text in distinct if text not in answers]
            tokens = await self._lengths(missing, options, call, texts)
            total = sum(
                answers[text].token_length if text in answers else tokens[text] for text in texts
            )
            size = answer_bytes(options, len(texts), total, await self.model_info())
            on_their_way = self._computed.tokens_on_their_way(missing, options, call)
            to_send = sum(tokens[text] for text in missing if text not in on_their_way)
            with self.admitted(to_send, size, call) as admission:
                return await self._encode(texts, tokens, answers, options, admission)

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
        return await self._count(texts)

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
        lengths = dict(zip(texts, tokens.tolist(), strict=True))
        answers = self._computed.cached(lengths, options, admission.call)
        missing = {text: length for text, length in lengths.items() if text not in answers}
        return await self._encode(texts, missing, answers, options, admission)

    async def _lengths(
        self, missing: Sequence[str], options: EncodeOptions, call: Call, texts: Sequence[str]
    ) -> dict[str, int]:
        """Return the lengths after truncation of distinct texts; errors name them in ``texts``."""
        lengths = self._computed.tokens_on_their_way(missing, options, call)
        uncounted = [text for text in missing if text not in lengths]
        if uncounted:
            with indices_in(texts, uncounted):
                counted = await self._count(uncounted)
                check_lengths(counted, options)
            cut = np.minimum(counted, options.max_length)
            lengths.update(zip(uncounted, cut.tolist(), strict=True))
        return lengths

    async def _encode(
        self,
        texts: Sequence[str],
        missing: Mapping[str, int],
        answers: dict[str, Embedding],
        options: EncodeOptions,
        admission: Admission,
    ) -> Embeddings:
        """Compute what is missing, and put it together with the answers that are there."""
        call = admission.call
        cached = sum(text in answers for text in texts)
        sent_before = admission.texts_sent
        with indices_in(texts, list(missing)):
            answers |= await self._computed.compute(missing, options, admission)
        sent = admission.texts_sent - sent_before
        try:
            embeddings = put_together([answers[text] for text in texts])
        except VersionChangedError:
            # Triton switched in between, or the cache has not heard of it. It does not do so all
            # the time: what is computed now is of one version.
            lengths = {text: answer.token_length for text, answer in answers.items()}
            with indices_in(texts, list(lengths)):
                answers = await self._computed.compute_anew(lengths, options, admission)
            embeddings = put_together([answers[text] for text in texts])
        call.texts += len(texts)
        call.tokens += int(embeddings.token_lengths.sum())
        call.truncated += int(embeddings.truncated.sum())
        call.cached += cached
        call.joined += len(texts) - cached - sent
        return embeddings

    async def _count(self, texts: Sequence[str]) -> Int32Array:
        self._scheduler.check_open()
        with stage("tokenize") as span:
            span.set_attribute("bgem3.texts", len(texts))
            return await self._counter.count(texts)

    def _check_count(self, texts: Sequence[str]) -> None:
        if len(texts) > self._settings.max_texts:
            raise TooLargeError(
                f"the request has {len(texts)} texts, and this service takes "
                f"{self._settings.max_texts} at once: send them in several requests",
                figures={"request_texts": len(texts), "limit_texts": self._settings.max_texts},
            )
        encode_texts(texts)  # refuses what no UTF-8 can stand for, and an empty list


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
