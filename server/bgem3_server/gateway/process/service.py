"""One process of the HTTP service: uvicorn, that tells how it is and stops in order."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from bgem3_client.transports import Transport
from bgem3_server.gateway.access.tls import server_context
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.gateway import Gateway
from bgem3_server.gateway.operations.logs import set_up_logs
from bgem3_server.gateway.process.events import (
    ServiceNotReady,
    ServiceReady,
    ServiceState,
    ServiceStopping,
)
from bgem3_server.gateway.process.http_protocol import HttpProtocol
from bgem3_server.gateway.settings import GatewaySettings

# Longer than the minute after which load balancers and clients drop an idle connection: who drops
# it last does not send a request into one that is being closed.
_IDLE_CONNECTION_SECONDS: Final = 75
# A request leaves hardly any; the default looks for it several times in each.
_GARBAGE_OBJECTS: Final = 20_000
_ARRIVAL_SECONDS: Final = 0.2
_CLOSE: Final = (b"connection", b"close")


@dataclass(frozen=True)
class Ending:
    """How a process of the service ended.

    Attributes:
        drained: Whether every request in flight was answered.
        killed_by: The second signal, if there was one.
    """

    drained: bool
    killed_by: int | None


class Service(uvicorn.Server):
    """A server whose first signal drains it and whose second ends it."""

    def __init__(
        self,
        app: FastAPI,
        settings: GatewaySettings,
        context: ssl.SSLContext | None,
        tell: Callable[[ServiceState], None],
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            app: What is served.
            settings: How.
            context: What connections are encrypted with.
            tell: Called ten times a second with how the service is.
        """
        super().__init__(
            uvicorn.Config(
                self._watch,
                interface="asgi3",
                loop="uvloop",
                http=HttpProtocol.within(settings.body_timeout_seconds),
                ws="none",
                lifespan="on",
                # What it says of its start and end is said better by others here.
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks who the caller is
                timeout_keep_alive=_IDLE_CONNECTION_SECONDS,
                timeout_graceful_shutdown=settings.stop_timeout_seconds,
                ssl_context_factory=None if context is None else lambda *_: context,
            )
        )
        self._app = app
        self._gateway: Gateway = app.state.gateway
        self._drain_delay_seconds = settings.drain_delay_seconds
        self._tell = tell
        self._close_at_seconds: float | None = None
        self._killed_by: int | None = None
        self._cut_off = False

    def serve_until_stopped(self, listener: socket.socket) -> Ending:
        """Answer requests until a signal comes."""
        self.run(sockets=[listener])
        return Ending(not self._cut_off, self._killed_by)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order at the first signal, at once at the second.

        uvicorn's own would end the process by the signal, once it has stopped in order.
        """
        if self._close_at_seconds is None:
            self._gateway.readiness.stop()
            self._close_at_seconds = time.monotonic() + self._drain_delay_seconds
            # Answers say from now on that their connection is not to be used again.
            self.config.encoded_headers.append(_CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        else:
            self._killed_by = sig
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Tell how the service is, and whether it is to stop now."""
        self._tell(self._state())
        if self._close_at_seconds is not None and time.monotonic() >= self._close_at_seconds:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what has come, and close."""
        for server in self.servers:
            server.close()
        # Requests on connections that were just taken are still on their way.
        await asyncio.sleep(_ARRIVAL_SECONDS)
        await super().shutdown(sockets)

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._cut_off = True

    def _state(self) -> ServiceState:
        gateway = self._gateway
        if self._close_at_seconds is not None:
            return ServiceStopping()
        if gateway.reason:
            return ServiceNotReady(gateway.reason)
        return ServiceReady(gateway.model.name, gateway.model.demo)


def run_service(
    settings: GatewaySettings,
    listener: socket.socket,
    tell: Callable[[ServiceState], None],
    transport: Transport | None = None,
) -> Ending:
    """Serve in this process, from its main thread, until a signal comes.

    Args:
        settings: Of the service.
        listener: Where it takes requests.
        tell: Called ten times a second with how it is.
        transport: Instead of a connection to ``settings.triton``.

    Raises:
        InvalidInputError: A setting is wrong.
        RepositoryError: The repository's manifest is damaged.
        TLSError: The certificate cannot be used.
    """
    context = server_context(settings)
    set_up_logs(settings)
    app = create_app(settings, transport)
    # What is there now stays: searching it for garbage would delay requests, by turns for long.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_OBJECTS)
    return Service(app, settings, context, tell).serve_until_stopped(listener)
