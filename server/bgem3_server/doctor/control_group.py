"""What the control group of this process may use: in a container, often less than the machine has.

See https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_ROOT: Final = Path("/sys/fs/cgroup")
# Version 1 writes a number of pages near 2**63 where there is no limit.
_NO_LIMIT_BYTES: Final = 2**60


@dataclass(frozen=True)
class ControlGroup:
    """The limits that hold for this process; None where there is none.

    Attributes:
        memory_bytes: The smallest of its group and of those above.
        cores: As many as its time slices add up to.
    """

    memory_bytes: int | None
    cores: float | None

    @classmethod
    def here(cls, root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> ControlGroup:
        """Read the limits.

        Args:
            root: Where the groups are mounted.
            membership: The file that says which is this process's.
        """
        folders = list(_folders(root, membership))
        memory = [
            limit
            for folder in folders
            for name in ("memory.max", "memory.limit_in_bytes")
            if (limit := _number(folder / name)) is not None and limit < _NO_LIMIT_BYTES
        ]
        cores = [quota for folder in folders if (quota := _cores(folder)) is not None]
        return cls(min(memory, default=None), min(cores, default=None))


def _folders(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the group's folder and those above it, of every hierarchy."""
    lines = membership.read_text(encoding="utf-8").splitlines() if membership.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mounts = [root] if not controllers else [root / name for name in controllers.split(",")]
        for mount in mounts:
            folder = mount / path.lstrip("/")
            while True:
                # In a container the path may be that of the host, which is not there.
                if folder.is_dir():
                    yield folder
                if folder in (mount, folder.parent):
                    break
                folder = folder.parent


def _cores(folder: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    quota_microseconds = _number(folder / "cpu.cfs_quota_us")
    period_microseconds = _number(folder / "cpu.cfs_period_us")
    if quota_microseconds is None or not period_microseconds or quota_microseconds < 0:
        return None
    return quota_microseconds / period_microseconds


def _number(file: Path) -> int | None:
    """Return what a file holds; None where it is not there, or says "max"."""
    with suppress(OSError, ValueError):
        return int(file.read_text(encoding="ascii"))
    return None
