"""The machine that a measurement was made on, for the head of its report."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Machine:
    """What a reader needs to know to judge a figure.

    Attributes:
        cores: Those that this process may use.
        features: What the processor has of the instructions that decide the speed of a trunk.
    """

    processor: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    date: str

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores ({', '.join(self.features) or 'no AVX'}), "
            f"{self.memory_bytes / 2**30:.0f} GiB, {self.system}, Python {self.python}, {self.date}"
        )


_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def this_machine() -> Machine:
    """Describe the machine that this process runs on."""
    cpuinfo = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    return Machine(
        processor=fields.get("model name", platform.processor() or platform.machine()),
        cores=len(os.sched_getaffinity(0)),
        features=tuple(feature for feature in _FEATURES if feature in flags),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        date=datetime.now(UTC).date().isoformat(),
    )
