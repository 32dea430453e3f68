"""One HTTP request on its way through the service."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from starlette.requests import HTTPConnection

from bgem3_client.deadline import Deadline
from bgem3_server.gateway.calls.caching import Caching
from bgem3_server.gateway.dialects.dialect import Dialect

CALL_KEY: Final = "bgem3.call"
"""Where the ASGI scope holds the :class:`Call`."""


class Priority(IntEnum):
    """Who goes first; smaller is sooner."""

    INTERACTIVE = 0
    BULK = 1


@dataclass
class Call:
    """What is known of a request beside its body, and what becomes known while it is answered.

    Attributes:
        request_id: The caller's own, or one that was made here.
        dialect: Decides the shape of errors; a route that serves two sets it from the body.
        deadline: When the answer must be there.
        priority: As the caller asked; None lets the size decide.
        caching: Which results it may share with other requests.
        modes: The representations asked for, joined by ``+``; for metrics and logs.
        texts: How many texts were answered.
        tokens: How many tokens they had, after truncation.
        truncated: How many texts were cut.
        cached: How many of the texts came from the cache.
        joined: How many were computed for another request, or stood in the same one before.
        queue_seconds: How long the request's first part waited for its turn.
        error: The code of what went wrong; empty for a success. For logs and traces.
        finish: Closed when the response has been sent or given up.
    """

    request_id: str
    dialect: Dialect
    deadline: Deadline
    priority: Priority | None = None
    caching: Caching = Caching.SHARED
    modes: str = ""
    texts: int = 0
    tokens: int = 0
    truncated: int = 0
    cached: int = 0
    joined: int = 0
    queue_seconds: float = 0.0
    error: str = ""
    finish: ExitStack = field(default_factory=ExitStack)

    def at_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the response has been sent or given up."""
        self.finish.callback(callback)


async def current_call(connection: HTTPConnection) -> Call:
    """Return the call that a request belongs to: a FastAPI dependency."""
    call: Call = connection.scope[CALL_KEY]
    return call
