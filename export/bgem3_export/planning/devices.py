"""The GPUs of this machine, as NVML says."""

from __future__ import annotations

from bgem3_export.errors import PlanError

_HOW: str = "say how much memory there is: --gpu-memory 16GiB, or --memory 8GiB without a GPU"


def gpu_memories() -> list[int]:
    """Return the bytes of each NVIDIA GPU of this machine.

    Raises:
        PlanError: There is none, or nothing here that could tell.
    """
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise PlanError(
            f"the GPUs cannot be asked without nvidia-ml-py (pip install nvidia-ml-py); {_HOW}"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise PlanError(f"no NVIDIA GPU can be asked here ({error}); {_HOW}") from error
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(number)
            for number in range(pynvml.nvmlDeviceGetCount())
        ]
        memories = [int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles]
    except pynvml.NVMLError as error:
        raise PlanError(f"the GPUs do not tell their memory ({error}); {_HOW}") from error
    finally:
        pynvml.nvmlShutdown()
    if not memories:
        raise PlanError(f"there is no NVIDIA GPU here; {_HOW}")
    return memories
