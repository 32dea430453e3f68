"""The addresses that Triton listens on."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from bgem3_server.errors import PortInUseError
from bgem3_server.settings import ServeSettings


@dataclass(frozen=True)
class Addresses:
    """One host and three ports."""

    host: str
    grpc_port: int
    http_port: int
    metrics_port: int

    @property
    def grpc(self) -> str:
        """``host:port``, as gRPC clients take it."""
        return f"{self._reachable_host}:{self.grpc_port}"

    @property
    def http(self) -> str:
        """The URL of the KServe v2 protocol over HTTP."""
        return f"http://{self._reachable_host}:{self.http_port}"

    @property
    def metrics(self) -> str:
        """The URL of the Prometheus metrics."""
        return f"http://{self._reachable_host}:{self.metrics_port}/metrics"

    @property
    def _reachable_host(self) -> str:
        """The host to connect to from this machine: nobody can connect to 0.0.0.0."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host
        if address.is_unspecified:
            address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
        return f"[{address}]" if address.version == 6 else str(address)


def pick_addresses(settings: ServeSettings) -> Addresses:
    """Return the addresses to listen on, with a free port in the place of each 0.

    A port that is picked or found free here may be taken before Triton binds it: Triton then
    fails with :class:`PortInUseError`, and the caller picks again.

    Raises:
        PortInUseError: A port that was asked for is in use, or may not be bound.
    """
    wanted = {
        "grpc_port": settings.grpc_port,
        "http_port": settings.http_port,
        "metrics_port": settings.metrics_port,
    }
    # All three stay bound until the last is picked, or the same one could be picked twice.
    with ExitStack() as bound:
        ports = {
            name: bound.enter_context(_bind(settings.address, port, name)).getsockname()[1]
            for name, port in wanted.items()
        }
    return Addresses(host=settings.address, **ports)


def _bind(host: str, port: int, name: str) -> socket.socket:
    option = "--" + name.replace("_", "-")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise PortInUseError(f"cannot listen on {host!r} (--address): {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections of a server that has just stopped do not keep the port from the next one.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # With that option two sockets may be bound to one port, as long as neither listens.
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortInUseError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another with "
            f"{option} (0 picks a free one)"
        ) from error
    return listener
