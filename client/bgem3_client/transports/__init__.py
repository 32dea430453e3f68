"""Ways to a server: each sends one request and returns its answer, or one of this package's errors.

``connect`` picks the one for an address; ``FakeTransport`` needs no server at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bgem3_client.transports.base import (
    ConfiguredTransport,
    InferRequest,
    InferResponse,
    ModelMetadata,
    Placement,
    Transport,
    TritonTransport,
)
from bgem3_client.transports.fake import FakeTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bgem3_client.address import Address

__all__ = [
    "ConfiguredTransport",
    "FakeTransport",
    "InferRequest",
    "InferResponse",
    "ModelMetadata",
    "Placement",
    "Transport",
    "TritonTransport",
    "connect",
    "connect_triton",
]


def connect(address: Address, headers: Mapping[str, str]) -> Transport:
    """Return the transport that speaks the address's protocol; nothing is sent yet.

    Only that protocol's library is imported.
    """
    if address.protocol == "bgem3":
        from bgem3_client.transports.service import ServiceTransport

        return ServiceTransport(address, headers)
    return connect_triton(address, headers)


def connect_triton(address: Address, headers: Mapping[str, str]) -> TritonTransport:
    """Return the transport to a Triton itself; see :func:`connect`."""
    if address.protocol == "grpc":
        from bgem3_client.transports.grpc import GrpcTransport

        return GrpcTransport(address, headers)
    from bgem3_client.transports.http import HttpTransport

    return HttpTransport(address, headers)
