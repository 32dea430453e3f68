"""What this machine's processor has."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")

# Instructions that multiply BF16 matrices, as Linux names them on x86-64.
BF16_FEATURES: Final = ("amx_bf16", "avx512_bf16")
# Those that add INT8 products in 32 bits. What came before adds pairs of them in 16, which is not
# enough for all.
INT8_FEATURES: Final = ("amx_int8", "avx512_vnni", "avx_vnni")


@cache
def processor_features() -> frozenset[str]:
    """Return the processor's instruction sets by Linux's names for them; empty elsewhere."""
    if not _CPUINFO.is_file():
        return frozenset()
    for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
