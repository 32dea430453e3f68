"""uvicorn's HTTP, with an end to the patience for a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpProtocol(HttpToolsProtocol):
    """Closes a connection whose next request's line and headers take too long.

    uvicorn itself waits for ever for the first byte of a connection, and for the rest of headers
    that were begun: whoever opens many such connections would leave no descriptors to others.
    """

    HEAD_SECONDS: float

    @classmethod
    def within(cls, seconds: float) -> type[HttpProtocol]:
        """Return this protocol with a limit, which uvicorn has no way to pass on."""
        return type(cls.__name__, (cls,), {"HEAD_SECONDS": seconds})

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is expected."""
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        """A request begins, the first or a later one of the connection."""
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Its body has a patience of its own."""
        self._head_is_here()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._head_is_here()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.HEAD_SECONDS, self.transport.close)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
