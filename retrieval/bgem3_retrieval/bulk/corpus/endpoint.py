"""One server of several that share the work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from bgem3_client.async_client import DEFAULT_LIMITS, AsyncClient
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.errors import ServerError
from bgem3_client.limits import Limits
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.connections import service_headers
from bgem3_retrieval.errors import ModelChangedError

_CHECK_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ServedModel:
    """What all servers must agree about.

    Attributes:
        name: Triton's name of it.
        version: The version that answers.
        hidden_size: Numbers in a dense vector.
        colbert_size: Numbers in a ColBERT vector.
    """

    name: str
    version: str
    hidden_size: int
    colbert_size: int

    def __str__(self) -> str:
        return f"{self.name} version {self.version} ({self.hidden_size} dimensions)"


@dataclass(eq=False)
class Endpoint:
    """A server, and how it fares.

    Attributes:
        name: What it is called in messages: its address.
        client: Sends to it; whoever made the endpoint closes it.
        up: Set while it takes requests.
        failures: How often it failed since its last answer.
        error: What it failed with last.
    """

    name: str
    client: AsyncClient
    up: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    error: ServerError | None = None

    @classmethod
    def connect(cls, url: str, limits: Limits = DEFAULT_LIMITS) -> Endpoint:
        """Return the endpoint at an address, as :class:`AsyncClient` takes it; nothing is sent yet.

        The service's key is the environment's, as in :func:`connections.connect`.

        Args:
            url: The address.
            limits: What fits in one request, and how many are on their way at once.

        Raises:
            InvalidInputError: It is no address.
        """
        # What lasts longer than a hiccup is for the pool of servers to deal with.
        retries = RetryPolicy(attempts=3)
        return cls(url, AsyncClient(url, limits=limits, retries=retries, headers=service_headers()))

    async def wait_until_ready(self, seconds: float) -> ServedModel:
        """Return what it serves, as soon as it answers.

        Raises:
            DeadlineError: It did not within ``seconds``.
            ServerError: It answers, and not as a server of this project would.
        """
        await self.client.wait_until_ready(seconds)
        return await self.model()

    async def model(self) -> ServedModel:
        """Return what it serves.

        Raises:
            ServerError: It does not answer as it should.
        """
        answer = await self.client.encode(["ready?"], timeout_seconds=_CHECK_SECONDS)
        info = await self.client.model_info(_CHECK_SECONDS)
        return ServedModel(info.name, answer.model_version, info.hidden_size, info.colbert_size)

    async def check(self, model: ServedModel) -> None:
        """Return when it answers, and with that model.

        Raises:
            ModelChangedError: With another one.
            ServerError: It does not answer as it should.
        """
        found = await self.model()
        if found != model:
            raise ModelChangedError(f"it serves {found}, and the others {model}")

    async def encode(
        self, texts: list[str], options: EncodeOptions, model: ServedModel, timeout_seconds: float
    ) -> Embeddings:
        """Return the representations of texts; see :meth:`AsyncClient.encode`.

        Raises:
            ModelChangedError: Another version of the model answered.
        """
        embeddings = await self.client.encode(
            texts,
            options.outputs,
            max_length=options.max_length,
            truncate=options.truncate,
            return_tokens=options.return_tokens,
            colbert_dtype=options.colbert_dtype,
            timeout_seconds=timeout_seconds,
        )
        if embeddings.model_version != model.version:
            raise ModelChangedError(
                f"the server changed the model's version from {model.version} to "
                f"{embeddings.model_version}, and vectors of two versions do not go together"
            )
        return embeddings
