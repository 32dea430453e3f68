"""The GPU and the TensorRT of this machine."""

from __future__ import annotations

import importlib
from types import ModuleType

from bgem3_export.errors import EngineError
from bgem3_export.manifest import EngineTarget

_ELSEWHERE = (
    "run this on a machine with the GPU that is to serve, for instance in NVIDIA's Triton container"
)


def load_tensorrt() -> ModuleType:
    """Return NVIDIA's ``tensorrt`` package.

    Raises:
        EngineError: It is not installed, is too old, or its libraries do not load.
    """
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise EngineError(
            f"--engine tensorrt needs NVIDIA's TensorRT, which does not load here ({error}): "
            "pip install tensorrt-cu13 (or -cu12) in the version that the serving Triton has, and "
            f"{_ELSEWHERE}"
        ) from error
    if int(tensorrt.__version__.split(".")[0]) < 10:
        raise EngineError(
            f"--engine tensorrt needs TensorRT 10 or later, and this is {tensorrt.__version__}"
        )
    return tensorrt


def find_target(tensorrt: ModuleType) -> EngineTarget:
    """Return what this machine builds plans for.

    Raises:
        EngineError: There is no GPU that can be used.
    """
    import torch

    if not torch.cuda.is_available():
        raise EngineError(
            "--engine tensorrt: PyTorch sees no NVIDIA GPU here, and a plan is built on the kind "
            f"of GPU that it is for: check the driver with nvidia-smi, or {_ELSEWHERE}"
        )
    major, minor = torch.cuda.get_device_capability()
    return EngineTarget(
        tensorrt=tensorrt.__version__,
        gpu=torch.cuda.get_device_name(),
        compute_capability=f"{major}.{minor}",
    )
