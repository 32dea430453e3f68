"""The texts of a call in requests: cut, sent some at once, cut again where a server takes less."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from bgem3_backend.contract import TOKEN_STATES, TOKENIZER
from bgem3_client.deadline import Deadline
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import (
    ContractError,
    InvalidInputError,
    NotFiniteError,
    ServerError,
    ServerOutOfMemoryError,
    VersionChangedError,
)
from bgem3_client.lifetime import Lifetime
from bgem3_client.limits import Limits
from bgem3_client.question import TOKEN_COUNTS, Answer, Question, TokenCounts, embeddings_of
from bgem3_client.retry_policy import RetryPolicy
from bgem3_client.splitting import estimated_tokens, split
from bgem3_client.transports import ConfiguredTransport, InferRequest, InferResponse, Transport


class TextEncoder:
    """Sends texts over a transport; all calls share the number of requests in flight."""

    def __init__(
        self,
        transport: Transport,
        model: str,
        model_version: str,
        limits: Limits,
        retries: RetryPolicy,
        lifetime: Lifetime,
    ) -> None:
        """Keep what every request needs.

        Args:
            transport: Carries the requests.
            model: Triton's name of the ensemble.
            model_version: Its version; empty for the server's choice.
            limits: How calls are cut into requests, and how many run at once.
            retries: When a request is sent again.
            lifetime: Says when nothing may be sent any more.
        """
        self._transport = transport
        self._model = model
        self._model_version = model_version
        self._limits = limits
        self._retries = retries
        self._lifetime = lifetime
        self._in_flight = asyncio.Semaphore(limits.max_in_flight)

    async def encode(
        self,
        texts: list[bytes],
        options: EncodeOptions,
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> Embeddings:
        """Return the representations of texts, in their order.

        When one request fails for good, the others are cancelled.

        Args:
            texts: UTF-8, one at least.
            options: What is wanted of them.
            headers: Sent with every request of this call.
            deadline: Of the whole call.

        Raises:
            InvalidInputError: The server refuses a text; ``index`` names it.
            NotFiniteError: The model gave NaN or infinity for a text; ``index`` names it.
            ServerError: As :meth:`AsyncClient.encode`.
        """
        return await self._ask(texts, embeddings_of(options), headers, deadline)

    async def count_tokens(
        self, texts: list[bytes], headers: Mapping[str, str], deadline: Deadline
    ) -> TokenCounts:
        """Return how many tokens each text has: int32 [N]; otherwise as :meth:`encode`."""
        return await self._ask(texts, TOKEN_COUNTS, headers, deadline)

    async def probe(self, timeout_seconds: float) -> None:
        """Send one small request, once.

        Raises:
            ServerError: What went wrong.
        """
        question = embeddings_of(EncodeOptions())
        request = self._request((b"ready?",), question, {}, timeout_seconds)
        question.read(await self._transport.infer(request), 1)

    def _request(
        self,
        texts: tuple[bytes, ...],
        question: Question[Answer],
        headers: Mapping[str, str],
        timeout_seconds: float | None = None,
    ) -> InferRequest:
        return InferRequest(
            texts,
            question.outputs,
            question.parameters,
            self._model,
            self._model_version,
            timeout_seconds,
            headers=headers,
        )

    async def _ask(
        self,
        texts: list[bytes],
        question: Question[Answer],
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> Answer:
        """Return the answers to all texts as one, of one version of the model."""
        try:
            return await self._ask_once(texts, question, headers, deadline)
        except VersionChangedError:
            # The server switched in between. It does not do so all the time.
            return await self._ask_once(texts, question, headers, deadline)

    async def _ask_once(
        self,
        texts: list[bytes],
        question: Question[Answer],
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> Answer:
        """Send the texts in requests, some at once; return their answers as one, in order."""
        tokens = [estimated_tokens(text, question.max_length) for text in texts]
        requests = list(split(tokens, self._limits))
        if len(requests) == 1:
            # Most calls: without the tasks that several need.
            return await self._ask_part(texts, requests[0], question, headers, deadline)
        answers: dict[int, Answer] = {}
        waiting = iter(enumerate(requests))

        async def work() -> None:
            # All workers take from one iterator, so a call of a million texts has few tasks.
            for position, part in waiting:
                answers[position] = await self._ask_part(texts, part, question, headers, deadline)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._limits.max_in_flight, len(requests))):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            # The first one counts: it cancelled the others.
            first = errors.exceptions[0]
            raise first from first.__cause__
        return question.concatenate([answers[position] for position in range(len(requests))])

    async def _ask_part(
        self,
        texts: list[bytes],
        part: slice,
        question: Question[Answer],
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> Answer:
        request = self._request(tuple(texts[part]), question, headers)

        async def attempt() -> InferResponse:
            async with self._in_flight:
                self._lifetime.check()
                return await self._transport.infer(
                    replace(request, timeout_seconds=deadline.remaining_seconds())
                )

        try:
            response = await self._retries.run(attempt, deadline)
            return question.read(response, len(request.texts))
        except InvalidInputError as error:
            if error.index is None:
                await self._check_offers(question, deadline)
                if pieces := await self._pieces(texts, part, question, deadline):
                    return question.concatenate(
                        [
                            await self._ask_part(texts, piece, question, headers, deadline)
                            for piece in pieces
                        ]
                    )
                raise
            raise _in_call(error, part.start + error.index) from error
        except NotFiniteError as error:
            if error.index is None:
                raise
            raise _in_call(error, part.start + error.index) from error
        except ServerOutOfMemoryError as error:
            tokens = sum(estimated_tokens(text, question.max_length) for text in request.texts)
            raise ServerOutOfMemoryError(
                f"{error} (number of texts: {len(request.texts)}, tokens: about {tokens:,} at most)"
            ) from error

    async def _pieces(
        self, texts: list[bytes], part: slice, question: Question[Answer], deadline: Deadline
    ) -> list[slice]:
        """Cut a request that was refused by what the server says that it takes at once.

        Later calls are cut so from the start. Empty where that is no reason for a refusal, or
        where the server does not tell: the refusal says how many texts or tokens are too many.
        """
        if part.stop - part.start == 1 or not isinstance(self._transport, ConfiguredTransport):
            return []
        try:
            parameters = await self._transport.model_parameters(
                TOKENIZER.name, deadline.remaining_seconds()
            )
        except ServerError:
            return []
        self._limits = self._limits.within(parameters)
        tokens = [estimated_tokens(text, question.max_length) for text in texts[part]]
        pieces = [
            slice(part.start + piece.start, part.start + piece.stop)
            for piece in split(tokens, self._limits)
        ]
        return pieces if len(pieces) > 1 else []

    async def _check_offers(self, question: Question[Answer], deadline: Deadline) -> None:
        """Raise ContractError when a request was refused for an output that the model lacks.

        Triton calls that the caller's mistake. Hidden states are the one output that the first
        repositories did not have.
        """
        if TOKEN_STATES not in question.outputs:
            return
        metadata = await self._transport.model_metadata(
            self._model, self._model_version, deadline.remaining_seconds()
        )
        if TOKEN_STATES.name not in metadata.output_shapes:
            raise ContractError(
                f"the server's model {metadata.name!r} has no output {TOKEN_STATES.name!r}: an "
                "earlier release exported it; export the checkpoint again for hidden states"
            )


def _in_call(
    error: InvalidInputError | NotFiniteError, index: int
) -> InvalidInputError | NotFiniteError:
    """Return an error about one text of a request as one about a text of the whole call."""
    in_call = type(error)(str(error), index=index)
    in_call.add_note(f"about texts[{index}]")
    return in_call
