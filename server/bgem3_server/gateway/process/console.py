"""What ``bgem3 gateway`` prints and writes while it runs."""

from __future__ import annotations

from bgem3_server.gateway.process.events import Listening, ServiceEvent, ServiceReady
from bgem3_server.listening import HttpAddress
from bgem3_server.ready_file import ReadyFile
from bgem3_server.telling import tell


class ServiceConsole:
    """Prints events, and keeps the ready file.

    Where it listens, and that it is ready, goes to standard output, all else to standard error.
    """

    def __init__(self, address: HttpAddress, triton: str, ready_file: ReadyFile) -> None:
        self._address = address
        self._triton = triton
        self._ready_file = ready_file

    def event(self, event: ServiceEvent) -> None:
        """Print an event."""
        if isinstance(event, ServiceReady):
            self._ready_file.write(
                {"service": self._address.local, "triton": self._triton, "model": event.name}
            )
        tell(event, err=not isinstance(event, Listening | ServiceReady))
