"""One Triton behind the service."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from bgem3_backend.contract import ENSEMBLE, version_name
from bgem3_client import AsyncClient, Limits, RetryPolicy
from bgem3_client.errors import BgeM3Error
from bgem3_client.transports import Transport
from bgem3_server.gateway.encoding.pace import Pace
from bgem3_server.gateway.tritons.role import Role

Result = TypeVar("Result")

# The scheduler decides what is in flight; the client only carries it.
_LIMITS: Final = Limits(
    max_in_flight=100_000, max_texts_per_request=2048, max_tokens_per_request=32_768
)
# Bridges a reconnection. Longer troubles are the caller's to wait for: it is told when.
_RETRIES: Final = RetryPolicy(attempts=2)
# A server that is there answers this from memory.
_LOOK_SECONDS: Final = 2.0


class Triton:
    """The way to one Triton, and what is known of its work.

    Attributes:
        role: What it is there for.
        address: Of its gRPC port, as it was set.
        transport: Carries the requests.
        model: What it is asked for.
        client: Sends texts over the transport.
        pace: How fast it works.
        in_flight_tokens: Sent to it to be encoded, and waited for.
        answered_seconds: When it last encoded something, by the monotonic clock.
    """

    def __init__(
        self, role: Role, address: str, transport: Transport, model_version: str = ""
    ) -> None:
        """Nothing is sent yet.

        Args:
            role: What it is there for.
            address: For people.
            transport: The way to it.
            model_version: Of the model to ask for, where several are loaded; empty for the one
                that serves.
        """
        self.role = role
        self.address = address
        self.transport = transport
        self.model = version_name(model_version) if model_version else ENSEMBLE.name
        self.client = AsyncClient(
            transport=transport, model=self.model, limits=_LIMITS, retries=_RETRIES
        )
        self.pace = Pace()
        self.in_flight_tokens = 0
        self.answered_seconds = -math.inf

    async def do(self, work: Work[Result], tokens: int) -> Result:
        """Have something done by this Triton.

        Args:
            work: Asks it.
            tokens: How many it is to encode; 0 where it is asked for something else.
        """
        self.in_flight_tokens += tokens
        try:
            result = await work(self)
        finally:
            self.in_flight_tokens -= tokens
        if tokens:
            self.answered_seconds = time.monotonic()
        return result

    async def is_there(self) -> bool:
        """Whether it says that it has the model: one that only has no room now does."""
        try:
            await self.transport.model_metadata(self.model, "", _LOOK_SECONDS)
        except BgeM3Error:
            return False
        return True


Work: TypeAlias = Callable[[Triton], Awaitable[Result]]
"""Asks a Triton for something. It may be called again, with another one."""
