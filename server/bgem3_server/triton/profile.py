"""Which configuration of the models suits this machine."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final, Literal

from bgem3_server.settings import Profile
from bgem3_server.triton.installation import Installation

TRUNK_BACKEND: Final = "onnxruntime"


@dataclass(frozen=True)
class ProfileChoice:
    """A profile, and why it was chosen."""

    profile: Profile
    reason: str


def choose_profile(
    requested: Literal["auto", "gpu", "cpu"], installation: Installation
) -> ProfileChoice:
    """Return the profile to load: what was asked for, or what this machine can run."""
    if requested != "auto":
        return ProfileChoice(requested, "as asked for")
    gpus = count_gpus()
    if not gpus:
        return ProfileChoice("cpu", "no NVIDIA GPU is visible")
    if not installation.has_backend(TRUNK_BACKEND):
        return ProfileChoice(
            "cpu",
            f"{gpus} NVIDIA GPU(s), but {installation.origin} has no {TRUNK_BACKEND} backend: "
            "run in NVIDIA's Triton container to use them",
        )
    return ProfileChoice("gpu", f"{gpus} NVIDIA GPU(s)")


def count_gpus() -> int:
    """Return how many GPUs a CUDA program would see here, as ``CUDA_VISIBLE_DEVICES`` says.

    0 also where the driver is missing or does not work.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    # https://docs.nvidia.com/cuda/cuda-driver-api: both return 0 on success; no context is made.
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
