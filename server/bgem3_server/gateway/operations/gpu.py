"""How full and how busy the GPUs of this machine are, as NVML says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import pynvml
import structlog

_MIB: Final = 1024 * 1024
_INTERVAL_SECONDS: Final = 5.0

log = structlog.get_logger("bgem3.gateway")


@dataclass(frozen=True)
class GpuUse:
    """One GPU at one moment.

    Attributes:
        name: Its model.
        memory_used_mb: In MiB, of all processes together, as `nvidia-smi` shows it.
        memory_total_mb: In MiB.
        utilization: Percent of the time that it was computing; None where it does not say.
    """

    name: str
    memory_used_mb: int
    memory_total_mb: int
    utilization: int | None


class GpuMonitor:
    """Looks at the GPUs now and then.

    NVML is asked in a thread, and never on behalf of a request: a driver in trouble may take its
    time.

    Attributes:
        gpus: As last seen, in NVML's order; empty without a GPU.
    """

    def __init__(self) -> None:
        self.gpus: tuple[GpuUse, ...] = ()

    async def run(self) -> None:
        """Look until cancelled; return at once where there is no NVIDIA driver."""
        try:
            await asyncio.to_thread(pynvml.nvmlInit)
        except pynvml.NVMLError:
            return
        try:
            while True:
                await self._look()
                await asyncio.sleep(_INTERVAL_SECONDS)
        finally:
            pynvml.nvmlShutdown()

    async def _look(self) -> None:
        try:
            self.gpus = await asyncio.to_thread(_read_gpus)
        except pynvml.NVMLError as error:
            if self.gpus:
                log.warning("the GPUs do not tell their use", reason=str(error))
            self.gpus = ()


def _read_gpus() -> tuple[GpuUse, ...]:
    return tuple(_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount()))


def _read_gpu(index: int) -> GpuUse:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    return GpuUse(
        pynvml.nvmlDeviceGetName(device),
        memory.used // _MIB,
        memory.total // _MIB,
        _utilization(device),
    )


def _utilization(device: object) -> int | None:
    try:
        return int(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
    except pynvml.NVMLError_NotSupported:  # as in a slice of a GPU (MIG)
        return None
