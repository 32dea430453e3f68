"""Other processes of this machine, as far as this user may see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        name: Of its program.
        orphaned: Whether the one that started it is gone.
    """

    pid: int
    name: str
    orphaned: bool

    @property
    def is_triton(self) -> bool:
        """Whether it is a Triton, or the process of one of its Python models."""
        # The kernel keeps 15 characters: triton_python_backend_stub becomes triton_python_b.
        return self.name.startswith(("tritonserver", "triton_python_b"))

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def find_process(pid: int) -> Process | None:
    """Return a process by its id; None where it is not here, or cannot be seen.

    Raises:
        ModuleNotFoundError: psutil is not installed.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        return Process(pid, process.name(), process.ppid() == 1)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def listening_process(port: int) -> Process | None:
    """Return the process that listens on a TCP port; None where it cannot be seen.

    Raises:
        ModuleNotFoundError: psutil is not installed.
    """
    import psutil

    for connection in psutil.net_connections(kind="tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid is not None
        ):
            return find_process(connection.pid)
    return None
