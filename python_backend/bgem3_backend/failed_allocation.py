"""Messages that tell of an allocation that failed."""

from __future__ import annotations

import re
from typing import Final

# Errors are told apart by type, but here there is none. ONNX Runtime gives a failed allocation the
# type and the code of any other failure (FAIL or RUNTIME_EXCEPTION), and from Triton's own backend
# nothing but its words arrives. OpenVINO raises a plain RuntimeError, as does PyTorch on CPUs and
# where cuBLAS finds no room.
_MESSAGE: Final = re.compile(
    "|".join(
        (
            # ONNX Runtime's arenas, on CPUs and GPUs; the second where an arena has a limit.
            "Failed to allocate memory for requested buffer of size",
            "is smaller than requested bytes of",
            # OpenVINO.
            r"Failed to allocate \d+ bytes of memory",
            # C++ itself, inside one of the kernels.
            "std::bad_alloc",
            # cudaErrorMemoryAllocation, as ONNX Runtime words it, and CUDA's libraries.
            "CUDA failure 2: out of memory",
            "(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED",
            # PyTorch on a CPU.
            "DefaultCPUAllocator: can't allocate memory",
        )
    )
)


def is_failed_allocation(message: str) -> bool:
    """Whether an engine's or PyTorch's message means that memory ran out, the host's or a GPU's."""
    return _MESSAGE.search(message) is not None
