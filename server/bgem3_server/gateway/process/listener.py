"""Where the HTTP service listens."""

from __future__ import annotations

import socket

from bgem3_server.gateway.access.tls import server_context
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.listening import HttpAddress, listen


def service_listener(settings: GatewaySettings) -> tuple[socket.socket, HttpAddress]:
    """Check the certificate, if there is one, and bind the port.

    Raises:
        TLSError: The certificate cannot be used.
        PortInUseError: The port is taken, or the address is not one of this machine.
    """
    encrypted = server_context(settings) is not None
    listener = listen(settings.host, settings.port, host_option="--host", port_option="--port")
    return listener, HttpAddress(settings.host, listener.getsockname()[1], encrypted)
