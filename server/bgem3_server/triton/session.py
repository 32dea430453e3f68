"""The processes of one Triton, and what they leave behind.

Triton is started as the leader of its own session, and the processes of its Python models stay in
that session, also when Triton is dead and they are nobody's children any more.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_server.errors import StopError

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
_LISTEN: Final = "0A"
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class SessionProcess:
    """A process, from ``/proc/PID/stat``."""

    pid: int
    state: str
    cpu_seconds: float


def session_processes(session: int) -> list[SessionProcess]:
    """Return the processes of a session that still run; zombies do not."""
    processes = (_read(int(entry.name), session) for entry in Path("/proc").glob("[0-9]*"))
    return [process for process in processes if process and process.state not in "ZX"]


def session_cpu_seconds(session: int) -> float:
    """Return the processor time that the running processes of a session have used."""
    return sum(process.cpu_seconds for process in session_processes(session))


def listening_ports(pid: int) -> frozenset[int]:
    """Return the TCP ports that a process listens on; none when it has ended or is another's."""
    sockets = _socket_inodes(pid)
    # Fields as in proc_net_tcp(5): address:port in hexadecimal, the state, the inode.
    rows = (
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    )
    return frozenset(
        int(fields[1].rpartition(":")[2], 16)
        for fields in rows
        if fields[3] == _LISTEN and fields[9] in sockets
    )


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed while the list was read
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()
    return inodes


def kill_session(session: int, timeout_seconds: float = 10) -> None:
    """Kill every process of a session and wait until they are gone.

    Raises:
        StopError: One stayed, as a process inside a hung driver call does.
    """
    deadline = time.monotonic() + timeout_seconds
    while processes := session_processes(session):
        if time.monotonic() > deadline:
            names = ", ".join(str(process.pid) for process in processes)
            raise StopError(f"processes of Triton cannot be killed: {names}")
        for process in processes:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # gone in the meantime
        time.sleep(0.01)


def remove_shared_memory(prefix: str) -> None:
    """Remove the shared memory regions whose names begin with ``prefix``."""
    for region in _SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _read(pid: int, session: int) -> SessionProcess | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None  # ended while the list was read
    # The name, in parentheses, may hold anything; the fields behind it are those of proc(5).
    fields = stat.rpartition(")")[2].split()
    if int(fields[3]) != session:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return SessionProcess(pid=pid, state=fields[0], cpu_seconds=ticks / _TICKS_PER_SECOND)
