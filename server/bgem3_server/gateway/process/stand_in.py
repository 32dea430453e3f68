"""What answers callers while no process of the service does: that it is away, and to come again."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from bgem3_client.deadline import Deadline
from bgem3_server.gateway.access.tls import server_context
from bgem3_server.gateway.calls.call import Call, request_id
from bgem3_server.gateway.calls.errors import NotReadyError
from bgem3_server.gateway.calls.problem import problem_response
from bgem3_server.gateway.dialects.dialect import dialect_of
from bgem3_server.gateway.settings import GatewaySettings

# Who watches the processes waits until it has stopped: at most for what these add up to.
_HEAR_SECONDS: Final = 1
_STOP_SECONDS: Final = 2


class StandIn:
    """Takes new connections from a socket that others share, and answers each with 503.

    It runs in a thread, and only while it is wanted: who else takes connections from the socket
    then still gets some of them.
    """

    def __init__(self, settings: GatewaySettings, listener: socket.socket) -> None:
        """Prepare; nothing is answered before :meth:`start`.

        Args:
            settings: Of the service; its certificate is used here too.
            listener: Where requests are taken; it stays open.

        Raises:
            TLSError: The certificate cannot be used.
        """
        self._context = server_context(settings)
        self._listener = listener
        self._running: tuple[uvicorn.Server, threading.Thread] | None = None

    def start(self) -> bool:
        """Answer callers from now on.

        Returns:
            Whether it did not before.
        """
        if self._running is not None:
            return False
        try:
            # The server closes what it is given, and the others' socket is not its own.
            listener = self._listener.dup()
        except OSError:  # no descriptor is left: callers wait, as they would without it
            return False
        context = self._context
        server = _Server(
            uvicorn.Config(
                _refuse,
                interface="asgi3",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_STOP_SECONDS,
                timeout_graceful_shutdown=_STOP_SECONDS,
                ssl_context_factory=None if context is None else lambda *_: context,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), name="service-stand-in")
        thread.start()
        self._running = server, thread
        return True

    def stop(self) -> bool:
        """Take no more connections; those that were taken are still answered.

        Returns:
            Whether it did before.
        """
        if self._running is None:
            return False
        server, thread = self._running
        server.should_exit = True
        thread.join()
        self._running = None
        return True


class _Server(uvicorn.Server):
    """A server that hears out whoever has connected when it is to stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn itself hangs up on a connection whose request has not come yet."""
        for server in self.servers:
            server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_HEAR_SECONDS):
                # Each ends with its answer.
                while self.server_state.connections:
                    await asyncio.sleep(0.02)
        await super().shutdown(sockets)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request; see ASGI."""
    call = Call(
        request_id(Headers(scope=scope)), dialect_of(scope["path"]), Deadline.after(_STOP_SECONDS)
    )
    # Who is still sending would see a broken connection instead of the answer.
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    error = NotReadyError("no process of the service answers now: send the request again")
    response = problem_response(error, call)
    response.headers["X-Request-Id"] = call.request_id
    response.headers["Connection"] = "close"  # the next request is for the one that comes
    await response(scope, receive, send)
