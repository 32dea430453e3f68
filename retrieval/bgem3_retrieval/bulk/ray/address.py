"""How a cluster is named on the command line."""

from __future__ import annotations

from typing import Final

AUTO: Final = "auto"
LOCAL: Final = "local"


def is_address(text: str) -> bool:
    """Whether a text is ``auto``, ``local`` or ``host:port``."""
    host, _, port = text.rpartition(":")
    return text in (AUTO, LOCAL) or (
        bool(host) and "/" not in host and port.isascii() and port.isdigit() and int(port) < 1 << 16
    )
