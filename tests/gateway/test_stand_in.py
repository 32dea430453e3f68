"""What answers callers while no process of the service does."""

from __future__ import annotations

import socket
import threading
import time

import httpx

from bgem3_server.gateway.process.stand_in import StandIn
from bgem3_server.gateway.settings import GatewaySettings


def test_who_has_connected_is_answered_when_it_stops() -> None:
    """The request may come a moment later; who connects from then on is somebody else's caller."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        stand_in = StandIn(GatewaySettings(), listener)
        assert stand_in.start()
        # It listens once it answers.
        assert 503 == httpx.get(f"http://127.0.0.1:{address[1]}/health", timeout=20).status_code
        with socket.create_connection(address, timeout=20) as caller:
            time.sleep(0.2)
            stopping = threading.Thread(target=stand_in.stop)
            stopping.start()
            time.sleep(0.3)
            caller.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = caller.recv(65_536)
            stopping.join()

    assert answer.startswith(b"HTTP/1.1 503")
