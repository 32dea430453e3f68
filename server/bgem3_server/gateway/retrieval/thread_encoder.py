"""The service's encoder for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import CancelledError
from contextvars import copy_context
from functools import partial
from typing import Final, TypeVar

import numpy as np

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_backend.packed_texts import Int32Array
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ColbertDtype, EncodeOptions, Output
from bgem3_client.errors import BgeM3Error
from bgem3_client.model_info import ModelInfo
from bgem3_server.gateway.calls.caching import Caching
from bgem3_server.gateway.calls.call import Call, Priority
from bgem3_server.gateway.calls.errors import BusyError, ResultMemoryError
from bgem3_server.gateway.encoding.encoder import Encoder, check_lengths
from bgem3_server.gateway.encoding.result_memory import answer_bytes
from bgem3_server.gateway.encoding.token_counter import TokenCounter
from bgem3_server.gateway.encoding.token_texts import with_token_texts
from bgem3_server.gateway.tritons.role import CanaryChoice

_COUNTED_AT_ONCE: Final = 1024
_PATIENCE_SECONDS: Final = 1

Result = TypeVar("Result")


class CallEndedError(BgeM3Error):
    """The caller has gone, or its time is up: the thread that works for it is to end too."""


class ThreadEncoder:
    """What searching and indexing need of a client, by way of the service's event loop.

    So their texts are admitted, queued, cached and counted as those of all other requests. Threads
    may share it. After :meth:`end` it does nothing more.
    """

    def __init__(self, encoder: Encoder, counter: TokenCounter, call: Call, *, bulk: bool) -> None:
        """Make one, on the event loop that the encoder runs on.

        Args:
            encoder: The service's.
            counter: The service's.
            call: The request that the work belongs to; its counts are filled in.
            bulk: Whether there are many texts: they then go behind others, wait for room where
                there is none, keep memory only while they are encoded, and share nothing.
        """
        # One collection holds the vectors of one model.
        call.canary = CanaryChoice.NEVER
        self._encoder = encoder
        self._counter = counter
        self._call = call
        self._bulk = bulk
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # with the request's trace
        self._tasks: set[asyncio.Task[object]] = set()
        self._ended = False

    def encode(
        self,
        texts: Sequence[str],
        outputs: Collection[Output] = frozenset({"dense"}),
        *,
        max_length: int = MAX_POSITIONS_TOKENS,
        truncate: bool = True,
        return_tokens: bool = False,
        colbert_dtype: ColbertDtype = "float32",
        timeout_seconds: float | None = None,
    ) -> Embeddings:
        """Return the representations of texts; see :meth:`bgem3_client.Client.encode`.

        Args:
            texts: One at least.
            outputs: What to compute.
            max_length: Tokens that a text is cut to.
            truncate: Whether longer ones are cut.
            return_tokens: Whether the tokens are in the answer.
            colbert_dtype: Of ColBERT vectors.
            timeout_seconds: Not looked at: the request's own deadline counts.

        Raises:
            BgeM3Error: As :meth:`bgem3_server.gateway.encoding.encoder.Encoder.encode`.
            CallEndedError: The request has ended.
        """
        options = EncodeOptions(
            frozenset(outputs), max_length, truncate, return_tokens, colbert_dtype
        )
        work = self._encode_bulk if self._bulk else self._encode
        return self._wait(partial(work, texts, options))

    def count_tokens(self, texts: Sequence[str]) -> Int32Array:
        """Return how many tokens each text has, special tokens included and nothing cut.

        Returns:
            int32 [N].

        Raises:
            BgeM3Error: As :meth:`bgem3_server.gateway.encoding.encoder.Encoder.count`.
            CallEndedError: The request has ended.
        """
        counts = [
            self._wait(partial(self._count, texts[start : start + _COUNTED_AT_ONCE]))
            for start in range(0, len(texts), _COUNTED_AT_ONCE)
        ]
        return np.concatenate(counts) if counts else np.empty(0, np.int32)

    def model_info(self) -> ModelInfo:
        """Return the model's name and sizes.

        Raises:
            ServerError: Triton did not say.
            CallEndedError: The request has ended.
        """
        return self._wait(self._encoder.model_info)

    def end(self) -> None:
        """Give up what is under way, and do nothing more; called on the event loop."""
        self._ended = True
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """Do nothing if the request goes on; called by any thread.

        Raises:
            CallEndedError: It has ended.
        """
        if self._ended:
            raise _ended()

    def _wait(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Have the event loop do something, and wait for it in this thread."""
        context = self._context.copy()  # two threads cannot be in one
        future = context.run(asyncio.run_coroutine_threadsafe, self._run(work), self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise _ended() from error

    async def _run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        # On the event loop, as `end` is: nothing begins for a request that has given back all that
        # it had.
        self.check()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with self._call.deadline.enforced():
                return await work()
        finally:
            self._tasks.discard(task)

    async def _encode(self, texts: Sequence[str], options: EncodeOptions) -> Embeddings:
        self._call.modes = _modes(options)
        embeddings = await self._encoder.encode(texts, options, self._call)
        return await with_token_texts(embeddings, self._counter)

    async def _encode_bulk(self, texts: Sequence[str], options: EncodeOptions) -> Embeddings:
        self._call.modes = _modes(options)
        while True:
            try:
                return await self._encode_part(texts, options)
            except (BusyError, ResultMemoryError) as error:
                await asyncio.sleep(error.retry_after_seconds or _PATIENCE_SECONDS)

    async def _encode_part(self, texts: Sequence[str], options: EncodeOptions) -> Embeddings:
        whole = self._call
        part = Call(whole.request_id, whole.dialect, whole.deadline, Priority.BULK, Caching.PRIVATE)
        try:
            lengths = await self._counter.count(texts)
            check_lengths(lengths, options)
            tokens = np.minimum(lengths, options.max_length)
            model = await self._encoder.model_info()
            total = int(tokens.sum())
            size = answer_bytes(options, len(texts), total, model)
            with self._encoder.admitted(total, size, part) as admission:
                return await self._encoder.encode_admitted(texts, tokens, options, admission)
        finally:
            part.finish.close()
            whole.texts += part.texts
            whole.tokens += part.tokens
            whole.truncated += part.truncated
            if part.served_by is not None:
                whole.was_served_by(part.served_by)

    async def _count(self, texts: Sequence[str]) -> Int32Array:
        return await self._counter.count(texts)


def _modes(options: EncodeOptions) -> str:
    return "+".join(mode for mode in ("dense", "sparse", "colbert") if mode in options.outputs)


def _ended() -> CallEndedError:
    return CallEndedError("the request ended before all of its work was done")
