"""While a client may be used: until it is closed, by its own process and event loop."""

from __future__ import annotations

import asyncio
import os

from bgem3_client.errors import ClientClosedError


class Lifetime:
    """Of a client and of what sends its texts.

    Attributes:
        ended: Whether the client was closed.
    """

    def __init__(self) -> None:
        self.ended = False
        self._process_id = os.getpid()
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise ClientClosedError when nothing may be sent; the first event loop to ask is its."""
        if self.ended:
            raise ClientClosedError("this client is closed: make a new one")
        if self._process_id != os.getpid():
            raise ClientClosedError(
                f"this client belongs to process {self._process_id}, and its connections do not "
                f"live on in process {os.getpid()}: make a client after forking, not before"
            )
        running = asyncio.get_running_loop()
        if self._event_loop is None:
            self._event_loop = running
        elif self._event_loop is not running:
            raise ClientClosedError(
                "this client belongs to another event loop: make one in each asyncio.run(), or "
                "use Client, which any thread may call"
            )
