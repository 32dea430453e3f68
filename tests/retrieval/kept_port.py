"""Ports for servers that are killed and come back."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_240


def kept_port() -> int:
    """Return a free port that stays free while its server is down.

    It is below those that the system gives to outgoing connections: one of those could be taken
    meanwhile, even by the client that looks for the server.
    """
    highest = int(_OUTGOING_PORTS.read_text().split()[0])
    while True:
        port = random.randrange(_LOWEST, highest)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
