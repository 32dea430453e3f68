"""The same client for code without ``asyncio``."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import ENSEMBLE, MAX_POSITIONS_TOKENS
from bgem3_client.async_client import (
    DEFAULT_LIMITS,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_SECONDS,
    EQUAL_WEIGHTS,
    AsyncClient,
)
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import DENSE_ONLY, ColbertDtype, Output
from bgem3_client.errors import ClientClosedError
from bgem3_client.event_loop_thread import EventLoopThread
from bgem3_client.limits import Limits
from bgem3_client.model_info import ModelInfo
from bgem3_client.pair_scores import ScoreName, Weights
from bgem3_client.retry_policy import RetryPolicy
from bgem3_client.tls import TLS
from bgem3_client.transports import Transport


class Client:
    """An :class:`AsyncClient` on an event loop of its own; any thread may call it.

    Its methods block, and end at once when interrupted (Ctrl-C), which cancels the work. It also
    works where an event loop is running already, as in Jupyter. Close it, or use it as a context
    manager:

        with Client("localhost:8001") as client:
            embeddings = client.encode(["a text", "another"], {"dense", "sparse"})

    Arguments, results and errors are those of :class:`AsyncClient`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        model: str = ENSEMBLE.name,
        model_version: str = "",
        limits: Limits = DEFAULT_LIMITS,
        timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS,
        retries: RetryPolicy = DEFAULT_RETRIES,
        tls: bool | TLS = False,
        headers: Mapping[str, str] | None = None,
        shared_memory_bytes: int = 0,
        transport: Transport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet. See :class:`AsyncClient`."""
        self._client = AsyncClient(
            url,
            model=model,
            model_version=model_version,
            limits=limits,
            timeout_seconds=timeout_seconds,
            retries=retries,
            tls=tls,
            headers=headers,
            shared_memory_bytes=shared_memory_bytes,
            transport=transport,
        )
        self._thread = EventLoopThread()
        # Also when it is forgotten, or still open when the interpreter ends.
        self._close = weakref.finalize(self, _close, self._client, self._thread)

    def encode(
        self,
        texts: Sequence[str],
        outputs: Collection[Output] = DENSE_ONLY,
        *,
        max_length: int = MAX_POSITIONS_TOKENS,
        truncate: bool = True,
        return_tokens: bool = False,
        return_hidden_states: bool = False,
        colbert_dtype: ColbertDtype = "float32",
        timeout_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Embeddings:
        """Return the representations of texts, in their order. See :meth:`AsyncClient.encode`."""
        return self._thread.run(
            self._client.encode(
                texts,
                outputs,
                max_length=max_length,
                truncate=truncate,
                return_tokens=return_tokens,
                return_hidden_states=return_hidden_states,
                colbert_dtype=colbert_dtype,
                timeout_seconds=timeout_seconds,
                headers=headers,
            )
        )

    def count_tokens(
        self,
        texts: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> NDArray[np.int32]:
        """Return how many tokens each text has. See :meth:`AsyncClient.count_tokens`."""
        return self._thread.run(
            self._client.count_tokens(texts, timeout_seconds=timeout_seconds, headers=headers)
        )

    def compute_score(
        self,
        pairs: Sequence[tuple[str, str]],
        weights: Weights = EQUAL_WEIGHTS,
        *,
        max_query_length: int = MAX_POSITIONS_TOKENS,
        max_passage_length: int = MAX_POSITIONS_TOKENS,
        timeout_seconds: float | None = None,
    ) -> dict[ScoreName, list[float]]:
        """Return the five scores of each pair. See :meth:`AsyncClient.compute_score`."""
        return self._thread.run(
            self._client.compute_score(
                pairs,
                weights,
                max_query_length=max_query_length,
                max_passage_length=max_passage_length,
                timeout_seconds=timeout_seconds,
            )
        )

    def ready(self, timeout_seconds: float = 5.0) -> bool:
        """Whether the server answers a request. See :meth:`AsyncClient.ready`."""
        return self._thread.run(self._client.ready(timeout_seconds))

    def wait_until_ready(self, timeout_seconds: float = 60.0) -> None:
        """Return as soon as the server answers. See :meth:`AsyncClient.wait_until_ready`."""
        self._thread.run(self._client.wait_until_ready(timeout_seconds))

    def model_info(self, timeout_seconds: float | None = None) -> ModelInfo:
        """Return the model's sizes and versions. See :meth:`AsyncClient.model_info`."""
        return self._thread.run(self._client.model_info(timeout_seconds))

    def close(self) -> None:
        """Close the connection, and end the thread. Again: nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _close(client: AsyncClient, thread: EventLoopThread) -> None:
    try:
        thread.run(client.close())
    except ClientClosedError:
        # A forked child has neither the thread nor the connections; the parent closes them.
        return
    thread.stop()
