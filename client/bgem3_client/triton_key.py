"""The key to what a Triton keeps closed that ``bgem3 serve`` has started.

Whoever may load models can have Triton run code, and whoever may register shared memory can have
it read and write that of others. So these need a header that strangers do not know.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bgem3_client.address import Address
from bgem3_client.cache_folder import cache_folder

CLOSED_APIS: Final = ("model-repository", "shared-memory", "trace", "logging")
"""What Triton answers to holders of the key alone, by its own names."""

HEADER: Final = "bgem3-key"
"""The HTTP header that the key goes in."""
GRPC_HEADER: Final = f"triton-grpc-protocol-{HEADER}"
"""The same of gRPC: Triton puts its own prefix before it."""
VARIABLE: Final = "BGEM3_TRITON_KEY"
"""The environment variable for a key that is not made anew at each start."""


def key_file(port: int) -> Path:
    """Return where the key of a Triton is kept while it runs, readable by its user alone.

    Args:
        port: Its gRPC or its HTTP port on this machine.
    """
    return cache_folder() / "triton-keys" / str(port)


def key_headers(address: Address) -> dict[str, str]:
    """Return the header with which a Triton answers what it keeps closed.

    The key is that of the environment, else, for an address of this machine, that of the Triton
    that this user has started there. Empty where neither is known.

    Args:
        address: Of Triton's gRPC or HTTP port.
    """
    key = os.environ.get(VARIABLE) or _kept_key(address)
    if not key:
        return {}
    return {GRPC_HEADER if address.protocol == "grpc" else HEADER: key}


def _kept_key(address: Address) -> str | None:
    place = urlsplit(f"//{address.target}")
    # A server elsewhere is not to be told the key of the one here.
    if place.port is None or not _is_here(place.hostname or ""):
        return None
    try:
        return key_file(place.port).read_text(encoding="ascii").strip()
    except OSError:
        return None  # not there, or another user's: the server says what it misses


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
