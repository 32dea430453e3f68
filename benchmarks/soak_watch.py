"""What the processes of a server hold while it is under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from bgem3_bench.process_memory import process_memory

INTERVAL_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Holding:
    """What one process held at one time.

    Attributes:
        role: What the process is.
        pid: Its id; another one in the same role is a process that was replaced.
        at_seconds: From the beginning.
        memory_bytes: Its own memory and what it shares, without files that are mapped.
        descriptors: Open ones.
        threads: Of the process.
    """

    role: str
    pid: int
    at_seconds: float
    memory_bytes: int
    descriptors: int
    threads: int


async def watch(pid: int, now_seconds: Callable[[], float], holdings: list[Holding]) -> None:
    """Look at a process and all below it every few seconds, until cancelled.

    Args:
        pid: Of ``bgem3 serve``.
        now_seconds: Time since the beginning.
        holdings: What is seen is added here.
    """
    while True:
        holdings.extend(look(pid, now_seconds()))
        await asyncio.sleep(INTERVAL_SECONDS)


def look(pid: int, at_seconds: float) -> list[Holding]:
    """Return what a process and all below it hold now."""
    parent = psutil.Process(pid)
    holdings = []
    for process in [parent, *parent.children(recursive=True)]:
        try:
            memory = process_memory(process.pid)
            holdings.append(
                Holding(
                    _role(process, parent),
                    process.pid,
                    at_seconds,
                    memory.anonymous_bytes + memory.shared_bytes,
                    process.num_fds(),
                    process.num_threads(),
                )
            )
        except (psutil.NoSuchProcess, FileNotFoundError, KeyError):
            continue  # it ended meanwhile; one that is missing for good is found in the end
    return holdings


def _role(process: psutil.Process, parent: psutil.Process) -> str:
    """Return what a process is, in words that hold for the one that replaces it."""
    if process == parent:
        return "bgem3 serve"
    name = process.name()
    if any(argument.endswith("triton/guard.py") for argument in process.cmdline()):
        return "guard"
    if name == "tritonserver":
        return name
    if "python_backend_stub" in " ".join(process.cmdline()):
        # Its first argument is PATH/MODEL/VERSION/model.py.
        return next(
            (part for part in process.cmdline()[1].split("/") if part.startswith("bge_m3")), name
        )
    return "service" if "bgem3_server.gateway.process.worker" in process.cmdline() else name
