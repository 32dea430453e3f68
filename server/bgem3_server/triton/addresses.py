"""The addresses that Triton listens on."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from bgem3_server.listening import host_in_url, listen, reachable_host
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
        return host_in_url(reachable_host(self.host))


def pick_addresses(settings: ServeSettings) -> Addresses:
    """Return the addresses to listen on, with a free port in the place of each 0.

    A port that is picked or found free here may be taken before Triton binds it: Triton then
    fails with :class:`PortInUseError`, and the caller picks again.

    Raises:
        PortInUseError: A port that was asked for is in use, or may not be bound.
    """
    wanted = {
        "--grpc-port": settings.grpc_port,
        "--http-port": settings.http_port,
        "--metrics-port": settings.metrics_port,
    }
    # All three stay bound until the last is picked, or the same one could be picked twice.
    with ExitStack() as bound:
        ports = {
            option: bound.enter_context(
                listen(settings.address, port, host_option="--address", port_option=option)
            ).getsockname()[1]
            for option, port in wanted.items()
        }
    return Addresses(
        settings.address, ports["--grpc-port"], ports["--http-port"], ports["--metrics-port"]
    )
