"""Where the HTTP service listens."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import click

from bgem3_server.gateway.access.tls import server_context
from bgem3_server.gateway.settings import GatewaySettings
from bgem3_server.listening import HttpAddress, listen


def service_listener(settings: GatewaySettings) -> tuple[socket.socket, HttpAddress]:
    """Check the certificate, if there is one, and bind the port.

    Says so on standard error where everybody who reaches the machine can use it.

    Raises:
        TLSError: The certificate cannot be used.
        PortInUseError: The port is taken, or the address is not one of this machine.
    """
    encrypted = server_context(settings) is not None
    listener = listen(settings.host, settings.port, host_option="--host", port_option="--port")
    if not settings.has_keys and not ip_address(listener.getsockname()[0]).is_loopback:
        click.echo(
            "the HTTP service is open to the network without keys: BGEM3_API_KEYS or "
            "--api-keys-file sets some, --host 127.0.0.1 keeps it to this machine",
            err=True,
        )
    return listener, HttpAddress(settings.host, listener.getsockname()[1], encrypted)
