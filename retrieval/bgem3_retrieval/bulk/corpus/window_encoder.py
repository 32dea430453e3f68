"""Windows of texts, sent to the servers and made into Arrow columns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import numpy as np
import pyarrow as pa

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ColbertDtype, EncodeOptions
from bgem3_client.errors import TEXT_ERRORS, ServerOutOfMemoryError
from bgem3_client.event_loop_thread import EventLoopThread
from bgem3_client.limits import Limits
from bgem3_retrieval.bulk.columns import columns_schema, record_batch
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.corpus.endpoint_pool import EndpointPool, PoolSettings
from bgem3_retrieval.bulk.corpus.in_order import in_order
from bgem3_retrieval.bulk.corpus.windows import Rows, requests_of
from bgem3_retrieval.connections import READY_SECONDS

_DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True)
class WindowAnswers:
    """What the servers said to a window of N texts.

    Attributes:
        answers: The places of some texts, and their embeddings; no place is there twice.
        refusals: Why there is none, for the places of all others.
    """

    answers: tuple[tuple[Rows, Embeddings], ...]
    refusals: dict[int, str]


@dataclass(frozen=True)
class EncodedWindow:
    """A window in columns.

    Attributes:
        batch: A row for each text that was encoded, in the order of the texts.
        refusals: Why not, for the places of all others.
        tokens: Of all rows, special tokens included.
        truncated: How many rows' texts were cut.
    """

    batch: pa.RecordBatch
    refusals: dict[int, str]
    tokens: int
    truncated: int


class WindowEncoder:
    """Encodes windows of texts with some servers; a window's rows depend on its texts alone.

    Texts are sorted by length inside a window and cut into requests by `limits`. What a server
    refuses about one text takes that text out, and the others are sent again; a request refused
    without a word on which, or too large for a server's memory, is halved until one text is left.

        >>> with WindowEncoder([Endpoint.connect("gpu:8001")]) as encoder:
        ...     window = encoder.encode(["1", "2"], ["a text", "another"])
        >>> window.batch.schema.names
        ['id', 'dense', 'token_count', 'truncated']

    Attributes:
        model: What the servers serve.
        schema: Of the columns.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        options: EncodeOptions | None = None,
        *,
        limits: Limits = _DEFAULT_LIMITS,
        dense_dtype: ColbertDtype = "float32",
        settings: PoolSettings | None = None,
        ready_seconds: float = READY_SECONDS,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Connect to the servers.

        Args:
            endpoints: One at least; their clients are this encoder's to close. A client's own
                limits must not be below ``limits``.
            options: How the texts are encoded; dense alone by default.
            limits: What fits in one request.
            dense_dtype: ``"float16"`` halves what dense vectors weigh in the columns.
            settings: How the servers share the work.
            ready_seconds: So long they may take to answer the first time.
            say: Told, in words, when a server fails and when it is back.

        Raises:
            UnavailableError: None of the servers answered.
            ModelChangedError: They serve unlike models or versions.
            ServerError: One of them answers, and not as a server of this project would.
        """
        self._options = options or EncodeOptions()
        self._limits = limits
        settings = settings or PoolSettings(in_flight=limits.max_in_flight)
        self._thread = EventLoopThread()
        self._pool = EndpointPool(endpoints, self._options, settings, say)
        try:
            self.model: ServedModel = self._thread.run(self._pool.open(ready_seconds))
        except BaseException:
            self.close()
            raise
        self.schema: pa.Schema = columns_schema(
            self._options,
            hidden_size=self.model.hidden_size,
            colbert_size=self.model.colbert_size,
            dense_dtype=dense_dtype,
        ).with_metadata({"bgem3.model": self.model.name, "bgem3.model_version": self.model.version})

    def encode(self, ids: Sequence[str], texts: Sequence[str]) -> EncodedWindow:
        """Return the columns of N texts under their N ids.

        Raises:
            ServerError: The servers failed at a request several times, or all of them are gone.
        """
        return self.columns(ids, self.send(texts).result())

    def send(
        self, texts: Sequence[str], answered: Callable[[Rows], None] = lambda rows: None
    ) -> Future[WindowAnswers]:
        """Send N texts, and return at once; :meth:`columns` makes columns of what comes.

        Args:
            texts: Any number of them.
            answered: Told, from another thread, the places of texts that were just encoded.
        """
        return self._thread.submit(self._send(texts, answered))

    def columns(self, ids: Sequence[str], window: WindowAnswers) -> EncodedWindow:
        """Return the columns of the N texts that were sent, under their N ids."""
        if not window.answers:
            batch = pa.RecordBatch.from_pylist([], self.schema)
            return EncodedWindow(batch, window.refusals, 0, 0)
        kept = np.ones(len(ids), dtype=np.bool_)
        kept[list(window.refusals)] = False
        places = np.cumsum(kept) - 1
        embeddings = in_order([(places[rows], answer) for rows, answer in window.answers])
        if window.refusals:
            ids = [text_id for text_id, is_kept in zip(ids, kept, strict=True) if is_kept]
        return EncodedWindow(
            record_batch(self.schema, ids, embeddings),
            window.refusals,
            int(embeddings.token_lengths.sum()),
            int(embeddings.truncated.sum()),
        )

    def close(self) -> None:
        """Close the connections. Again: nothing."""
        if not self._thread.stopped:
            self._thread.run(self._pool.close())
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _send(self, texts: Sequence[str], answered: Callable[[Rows], None]) -> WindowAnswers:
        answers: list[tuple[Rows, Embeddings]] = []
        refusals: dict[int, str] = {}

        async def encode(rows: Rows) -> None:
            while len(rows):
                try:
                    embeddings = await self._pool.encode([texts[row] for row in rows])
                except TEXT_ERRORS as error:
                    if error.index is not None:
                        refusals[int(rows[error.index])] = str(error)
                        rows = np.delete(rows, error.index)
                    elif len(rows) == 1:
                        refusals[int(rows[0])] = str(error)
                        return
                    else:
                        await encode_halves(rows)
                        return
                except ServerOutOfMemoryError:
                    if len(rows) == 1:
                        raise
                    await encode_halves(rows)
                    return
                else:
                    answers.append((rows, embeddings))
                    answered(rows)
                    return

        async def encode_halves(rows: Rows) -> None:
            middle = len(rows) // 2
            await encode(rows[:middle])
            await encode(rows[middle:])

        try:
            async with asyncio.TaskGroup() as group:
                for rows in requests_of(texts, self._limits, self._options.max_length):
                    group.create_task(encode(rows))
        except BaseExceptionGroup as errors:
            # The first one counts: it cancelled the others.
            first = errors.exceptions[0]
            raise first from first.__cause__
        return WindowAnswers(tuple(answers), refusals)
