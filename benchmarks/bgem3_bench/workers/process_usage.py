"""What processes use: processor time and memory, as Linux tells it in ``/proc``.

Standard library alone, Python 3.9 or later: this file is imported by the Pythons of foreign
environments.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterable, Sequence
from pathlib import Path


def process_tree(roots: Sequence[int]) -> list[int]:
    """Return the processes ``roots`` and all that descend from them, as they are now."""
    children: dict[int, list[int]] = {}
    for process_id in map(int, filter(str.isdigit, os.listdir("/proc"))):
        stat = _stat_fields(process_id)
        if stat is not None:
            children.setdefault(int(stat[1]), []).append(process_id)
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        process_id = waiting.pop()
        if process_id not in found:
            found.append(process_id)
            waiting += children.get(process_id, [])
    return found


def cpu_seconds_of(process_ids: Iterable[int]) -> float:
    """Return the processor seconds, user and system, of processes and their ended children."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for process_id in process_ids:
        if process_id == os.getpid():
            # Of itself a process knows microseconds; of others the kernel tells hundredths.
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
                usage = resource.getrusage(who)
                total += usage.ru_utime + usage.ru_stime
        elif (stat := _stat_fields(process_id)) is not None:
            # proc(5): utime, stime, cutime, cstime.
            total += sum(map(int, stat[11:15])) / tick
    return total


def peak_bytes_of(process_ids: Iterable[int]) -> int:
    """Return the most memory that each process held since it began, or since the last reset, added.

    Pages that two processes share count twice.
    """
    total = 0
    for process_id in process_ids:
        try:
            status = Path(f"/proc/{process_id}/status").read_text(
                encoding="ascii", errors="replace"
            )
        except (FileNotFoundError, ProcessLookupError):
            continue  # It has ended.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        total += int(peak.group(1)) * 1024 if peak else 0
    return total


def reset_peaks(process_ids: Iterable[int]) -> bool:
    """Let the peaks begin anew; return whether the kernel allowed it (proc(5), clear_refs)."""
    allowed = True
    for process_id in process_ids:
        try:
            Path(f"/proc/{process_id}/clear_refs").write_text("5", encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            allowed = False
    return allowed


def _stat_fields(process_id: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat behind the name, state first; None: it has ended."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any character.
    return stat[stat.rindex(")") + 1 :].split()
