"""Memory of a process as the Linux kernel counts it: exact peaks, no sampling."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessMemory:
    """What a process holds in memory; ``/proc/PID/status``.

    Attributes:
        peak_bytes: The most it held at once since it began, or since :func:`reset_peak`.
        anonymous_bytes: Its own: heap and stacks.
        file_bytes: Pages of mapped files, which the kernel can take back.
        shared_bytes: Shared memory.
    """

    peak_bytes: int
    anonymous_bytes: int
    file_bytes: int
    shared_bytes: int

    @property
    def resident_bytes(self) -> int:
        """All of it."""
        return self.anonymous_bytes + self.file_bytes + self.shared_bytes


def process_memory(pid: int) -> ProcessMemory:
    """Return what process ``pid`` holds now.

    Raises:
        FileNotFoundError: There is no such process.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    # Every one of them in kibibytes: "VmHWM:    12345 kB".
    peak, anonymous, file, shared = (
        int(fields[name].split()[0]) * 1024 for name in ("VmHWM", "RssAnon", "RssFile", "RssShmem")
    )
    return ProcessMemory(peak, anonymous, file, shared)


def reset_peak(pid: int) -> None:
    """Let the peak of process ``pid`` begin anew; proc(5), ``clear_refs``."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def run_measured(command: Sequence[str]) -> int:
    """Run a command to its end and return the most memory that its process held, in bytes.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss * 1024
