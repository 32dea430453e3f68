"""What a Triton on this machine takes of memory."""

from __future__ import annotations

import psutil

from bgem3_bench.workers.process_usage import peak_bytes_of, process_tree, reset_peaks
from bgem3_client.address import Address

_TRITON = "tritonserver"


class ServerMemory:
    """The processes of a Triton: itself and those of its Python models."""

    def __init__(self, pid: int) -> None:
        """Watch ``pid`` and what descends from it."""
        self._pid = pid

    @classmethod
    def find(cls, url: str) -> ServerMemory | None:
        """Return the memory of the Triton that listens at an address; None where it is not here.

        It is not where the address is another machine's or the HTTP service's, where a container
        is in between, or where its processes are another user's.
        """
        address = Address.parse(url)
        host, _, port = address.target.partition("/")[0].rpartition(":")
        if address.protocol == "bgem3" or host not in _local_hosts():
            return None
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == int(port)
                and connection.pid is not None
                and psutil.Process(connection.pid).name() == _TRITON
            ):
                return cls(connection.pid)
        return None

    def reset(self) -> None:
        """Let the peak begin anew, where the system allows it."""
        reset_peaks(process_tree([self._pid]))

    def peak_bytes(self) -> int:
        """Return the most that each process held, added; pages that two share count twice."""
        return peak_bytes_of(process_tree([self._pid]))


def _local_hosts() -> set[str]:
    addresses = {
        address.address for interface in psutil.net_if_addrs().values() for address in interface
    }
    return {"localhost", "[::1]"} | addresses
