"""One HTTP request on its way through the service."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from bgem3_client.deadline import Deadline
from bgem3_server.gateway.calls.caching import Caching
from bgem3_server.gateway.dialects.dialect import Dialect
from bgem3_server.gateway.tritons.role import CanaryChoice, Role

CALL_KEY: Final = "bgem3.call"
"""Where the ASGI scope holds the :class:`Call`."""

_REQUEST_ID: Final = re.compile(r"[0-9A-Za-z_.:-]{1,128}")


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
        canary: Whether a canary may answer it.
        served_by: The Triton that encoded the texts; of several the one that is not the primary.
            None where nothing was encoded.
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
    canary: CanaryChoice = CanaryChoice.BY_SHARE
    served_by: Role | None = None
    queue_seconds: float = 0.0
    error: str = ""
    finish: ExitStack = field(default_factory=ExitStack)

    def was_served_by(self, role: Role) -> None:
        """Some of the texts were encoded by a Triton; another than the primary is what is told."""
        if role is not Role.PRIMARY or self.served_by is None:
            self.served_by = role

    def add(self, part: Call) -> None:
        """Count what a part of the request has done."""
        self.texts += part.texts
        self.tokens += part.tokens
        self.truncated += part.truncated
        self.cached += part.cached
        self.joined += part.joined
        self.queue_seconds = max(self.queue_seconds, part.queue_seconds)
        if part.served_by is not None:
            self.was_served_by(part.served_by)

    def at_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the response has been sent or given up."""
        self.finish.callback(callback)


async def current_call(connection: HTTPConnection) -> Call:
    """Return the call that a request belongs to: a FastAPI dependency."""
    call: Call = connection.scope[CALL_KEY]
    return call


def request_id(headers: Headers) -> str:
    """Return the caller's own id where it is harmless to repeat, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
