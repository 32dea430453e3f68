"""The client: texts in, embeddings out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import ENSEMBLE, MAX_POSITIONS_TOKENS
from bgem3_client.address import Address
from bgem3_client.deadline import Deadline
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import (
    ALL_OUTPUTS,
    DENSE_ONLY,
    ColbertDtype,
    EncodeOptions,
    Output,
    checked_outputs,
    encode_texts,
)
from bgem3_client.errors import (
    AccessError,
    DeadlineError,
    InvalidInputError,
    ServerError,
)
from bgem3_client.headers import checked_headers
from bgem3_client.lifetime import Lifetime
from bgem3_client.limits import Limits
from bgem3_client.model_info import ModelInfo
from bgem3_client.pair_scores import ScoreName, Weights, score_pairs
from bgem3_client.retry_policy import RetryPolicy
from bgem3_client.text_encoder import TextEncoder
from bgem3_client.tls import TLS
from bgem3_client.transports import Transport, connect, connect_triton

DEFAULT_TIMEOUT_SECONDS: Final = 300.0
DEFAULT_LIMITS: Final = Limits()
DEFAULT_RETRIES: Final = RetryPolicy()
EQUAL_WEIGHTS: Final[Weights] = (1.0, 1.0, 1.0)
_READY_CHECK_SECONDS: Final = 5.0
_READY_POLL_SECONDS: Final = 0.25


class AsyncClient:
    """A connection to a BGE-M3 server, for use with ``asyncio``.

    It belongs to the event loop that first uses it. Close it, or use it as a context manager:

        async with AsyncClient("localhost:8001") as client:
            embeddings = await client.encode(["a text", "another"], {"dense", "sparse"})
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
        """Make a client; nothing is sent yet.

        Args:
            url: ``host:port`` or ``grpc://host:port`` for Triton's gRPC, ``http://host:port``
                for its HTTP, ``bgem3://host:port`` for the HTTP service; ``grpcs://``,
                ``https://`` and ``bgem3s://`` encrypted.
            model: Triton's name of the ensemble.
            model_version: Its version; empty for the one that the server prefers (the newest).
            limits: How calls are cut into requests, and how many of them run at once.
            timeout_seconds: Time allowed for a whole call, retries included, unless the call says
                otherwise; None for no limit.
            retries: When a request is sent again.
            tls: True to encrypt, or the certificates to do it with.
            headers: Sent with every request, as HTTP headers or gRPC metadata.
            shared_memory_bytes: Size of a region through which ColBERT results come, of which
                there are up to ``limits.max_in_flight``; only with the server on this machine.
                0 for none.
            transport: Carries the requests instead of a connection to ``url``.

        Raises:
            InvalidInputError: An argument is wrong, or a certificate cannot be read.
        """
        if (url is None) == (transport is None):
            raise InvalidInputError("a client needs the url of a server, or else a transport")
        if shared_memory_bytes < 0 or (shared_memory_bytes and transport is not None):
            raise InvalidInputError("shared_memory_bytes must be 0 or more, and needs a url")
        self._transport = transport or _connect(
            url or "", tls, checked_headers(headers or {}), shared_memory_bytes
        )
        self._model = model
        self._model_version = model_version
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._lifetime = Lifetime()
        self._encoder = TextEncoder(
            self._transport, model, model_version, limits, retries, self._lifetime
        )

    async def encode(
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
        """Return the representations of texts, in their order.

        Any number of texts may be passed: they travel in requests of the size that the client's
        `Limits` allow. When one fails for good, the others are cancelled.

        Args:
            texts: One text at least; a text may be empty.
            outputs: Some of ``"dense"``, ``"sparse"`` and ``"colbert"``. What is not asked for
                is not computed.
            max_length: Tokens a text is cut to, special tokens included; 1 to 8192.
            truncate: False makes a text longer than ``max_length`` an error.
            return_tokens: Return the tokens' texts too.
            return_hidden_states: Return the trunk's last hidden state of every token too, not
                normalised; 4 KB a token at BGE-M3's 1,024 dimensions.
            colbert_dtype: ``"float16"`` halves what ColBERT results weigh on the way.
            timeout_seconds: Time allowed for this call instead of the client's.
            headers: Sent with every request of this call beside the client's, whose values they
                replace where both have one: ``{"traceparent": "00-..."}`` joins a W3C trace.

        Raises:
            InvalidInputError: An argument is wrong, or the server refuses a text; ``index`` names
                the text.
            UnavailableError: The server could not be reached, or was too busy, each time.
            DeadlineError: The time ran out.
            ModelNotFoundError: The server has no such model or version.
            AccessError: The server refuses this caller.
            InternalServerError: The server failed.
            ServerOutOfMemoryError: The server had not enough memory for a request of the call.
            ContractError: The server's answer is not this project's.
            ClientClosedError: The client is closed, or belongs to another event loop or process.
        """
        self._lifetime.check()
        options = EncodeOptions(
            checked_outputs(outputs),
            max_length,
            truncate,
            return_tokens,
            colbert_dtype,
            return_hidden_states,
        )
        encoded = encode_texts(texts)
        call_headers = checked_headers(headers or {})
        deadline = self._deadline(timeout_seconds)
        async with deadline.enforced():
            return await self._encoder.encode(encoded, options, call_headers, deadline)

    async def count_tokens(
        self,
        texts: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> NDArray[np.int32]:
        """Return how many tokens the model counts in each text.

        Special tokens are included, and nothing is truncated: a text of more than 8,192 tokens has
        its own length. Only the tokenizer works. The texts travel as those of :meth:`encode`.

        Args:
            texts: One text at least; a text may be empty.
            timeout_seconds: Time allowed for this call instead of the client's.
            headers: Sent with every request of this call, as in :meth:`encode`.

        Returns:
            int32 [N].

        Raises:
            InvalidInputError: An argument is wrong, or the server refuses a text; ``index`` names
                the text.
            ServerError: As :meth:`encode`.
        """
        self._lifetime.check()
        encoded = encode_texts(texts)
        call_headers = checked_headers(headers or {})
        deadline = self._deadline(timeout_seconds)
        async with deadline.enforced():
            return await self._encoder.count_tokens(encoded, call_headers, deadline)

    async def compute_score(
        self,
        pairs: Sequence[tuple[str, str]],
        weights: Weights = EQUAL_WEIGHTS,
        *,
        max_query_length: int = MAX_POSITIONS_TOKENS,
        max_passage_length: int = MAX_POSITIONS_TOKENS,
        timeout_seconds: float | None = None,
    ) -> dict[ScoreName, list[float]]:
        """Return how well each passage answers its query, as FlagEmbedding's `compute_score` does.

        Each distinct text is encoded once, and its representations are kept only until the last
        pair that needs them.

        Args:
            pairs: (query, passage), as many as wanted.
            weights: Of dense, sparse and ColBERT, in this order. ``sparse+dense`` is divided by
                the sum of the first two, ``colbert+sparse+dense`` by the sum of all; a sum of
                nothing gives NaN.
            max_query_length: Tokens a query is cut to (FlagEmbedding: 512).
            max_passage_length: Tokens a passage is cut to (FlagEmbedding: 512).
            timeout_seconds: Time allowed for this call instead of the client's.

        Returns:
            For ``colbert``, ``sparse``, ``dense``, ``sparse+dense`` and ``colbert+sparse+dense``
            one score a pair.

        Raises:
            InvalidInputError: An argument is wrong; ``index`` names the pair.
            ServerError: As :meth:`encode`.
        """
        self._lifetime.check()
        deadline = self._deadline(timeout_seconds)

        async def encode_all_outputs(texts: list[str], max_length: int) -> Embeddings:
            return await self.encode(
                texts,
                ALL_OUTPUTS,
                max_length=max_length,
                timeout_seconds=deadline.remaining_seconds(),
            )

        async with deadline.enforced():
            return await score_pairs(
                pairs,
                weights,
                encode_all_outputs,
                max_query_length=max_query_length,
                max_passage_length=max_passage_length,
            )

    async def ready(self, timeout_seconds: float = _READY_CHECK_SECONDS) -> bool:
        """Whether the server answers: a text is encoded, once, since a health check may lie.

        Raises:
            AccessError: The server refuses this caller, which waiting does not change.
        """
        return await self._trouble(timeout_seconds) is None

    async def wait_until_ready(self, timeout_seconds: float = 60.0) -> None:
        """Return as soon as the server answers a request.

        Raises:
            DeadlineError: It did not within ``timeout_seconds``; the message says why.
            AccessError: The server refuses this caller.
        """
        deadline = Deadline.after(timeout_seconds)
        while trouble := await self._trouble(
            min(deadline.remaining_seconds() or timeout_seconds, _READY_CHECK_SECONDS)
        ):
            if not deadline.leaves(_READY_POLL_SECONDS):
                raise DeadlineError(
                    f"the server was not ready within {timeout_seconds:g} s: {trouble}"
                ) from trouble
            await asyncio.sleep(_READY_POLL_SECONDS)

    async def model_info(self, timeout_seconds: float | None = None) -> ModelInfo:
        """Return the sizes of the model's vectors and the versions that are loaded.

        Raises:
            ServerError: As :meth:`encode`.
        """
        self._lifetime.check()
        deadline = self._deadline(timeout_seconds)
        async with deadline.enforced():
            metadata = await self._retries.run(
                lambda: self._transport.model_metadata(
                    self._model, self._model_version, deadline.remaining_seconds()
                ),
                deadline,
            )
        return ModelInfo.of(metadata)

    async def close(self) -> None:
        """Close the connection; calls under way end with ClientClosedError. Again: nothing."""
        if self._lifetime.ended:
            return
        self._lifetime.ended = True
        await self._transport.close()

    async def __aenter__(self) -> Self:
        self._lifetime.check()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _trouble(self, timeout_seconds: float) -> ServerError | None:
        """Send one small request, once; return what went wrong."""
        self._lifetime.check()
        deadline = Deadline.after(timeout_seconds)
        try:
            async with deadline.enforced():
                await self._encoder.probe(timeout_seconds)
        except AccessError:
            raise
        except ServerError as error:
            return error
        return None

    def _deadline(self, timeout_seconds: float | None) -> Deadline:
        return Deadline.after(self._timeout_seconds if timeout_seconds is None else timeout_seconds)


def _connect(
    url: str, tls: bool | TLS, headers: Mapping[str, str], shared_memory_bytes: int
) -> Transport:
    address = Address.parse(url, tls)
    if not shared_memory_bytes:
        return connect(address, headers)
    if address.protocol == "bgem3":
        raise InvalidInputError("shared_memory_bytes needs a Triton's own address, not bgem3://")
    from bgem3_client.shared_memory import SharedMemoryTransport

    return SharedMemoryTransport(connect_triton(address, headers), shared_memory_bytes)
