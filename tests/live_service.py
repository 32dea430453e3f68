"""The HTTP service for tests: in a thread of this process, on a port that the system picked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from bgem3_client.transports import Transport
from bgem3_server.gateway.app import create_app
from bgem3_server.gateway.settings import GatewaySettings


@contextmanager
def live_service(
    settings: GatewaySettings | None = None, transport: Transport | None = None
) -> Iterator[str]:
    """The service; gives its URL.

    Args:
        settings: Of the service; host and port are not used.
        transport: Instead of a connection to Triton.
    """
    with live_app(create_app(settings or GatewaySettings(), transport)) as url:
        yield url


@contextmanager
def live_app(app: ASGIApp) -> Iterator[str]:
    """An application behind a real HTTP server; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=10))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
