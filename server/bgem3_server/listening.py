"""A socket that listens, or a message that says which option names another address."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from bgem3_server.errors import PortInUseError


def listen(host: str, port: int, *, host_option: str, port_option: str) -> socket.socket:
    """Return a socket that listens at ``host`` and ``port``.

    Args:
        host: A name or an address; ``::`` takes IPv4 as well where the system does so.
        port: 0 picks a free one.
        host_option: The option that names the host, for the message.
        port_option: The option that names the port.

    Raises:
        PortInUseError: Somebody else listens there, or it may not be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise PortInUseError(f"cannot listen on {host!r} ({host_option}): {error.strerror}") from (
            error
        )
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections of a server that has just stopped do not keep the port from the next one.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # With that option two sockets may be bound to one port, as long as neither listens.
        listener.listen()
    except OSError as error:
        listener.close()
        how = (
            f"{host_option} takes an address of this machine"
            if error.errno == errno.EADDRNOTAVAIL
            else f"choose another with {port_option} (0 picks a free one)"
        )
        raise PortInUseError(
            f"cannot listen on {host}, port {port}: {error.strerror}; {how}"
        ) from error
    return listener


def host_in_url(host: str) -> str:
    """Return a host as URLs have it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def reachable_host(host: str) -> str:
    """Return the host to connect to from this machine: nobody can connect to 0.0.0.0."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return str(address)
    return "127.0.0.1" if address.version == 4 else "::1"


@dataclass(frozen=True)
class HttpAddress:
    """Where an HTTP server listens.

    Attributes:
        host: What it is bound to.
        port: The real one, never 0.
        encrypted: Whether it speaks HTTPS.
    """

    host: str
    port: int
    encrypted: bool = False

    @property
    def bound(self) -> str:
        """The URL of the address that it is bound to, such as ``http://0.0.0.0:33330``."""
        return self._url(self.host)

    @property
    def local(self) -> str:
        """A URL that works on this machine."""
        return self._url(reachable_host(self.host))

    def _url(self, host: str) -> str:
        return f"{'https' if self.encrypted else 'http'}://{host_in_url(host)}:{self.port}"
