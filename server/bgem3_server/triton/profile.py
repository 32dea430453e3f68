"""Which configuration of the models suits this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bgem3_server.settings import Profile
from bgem3_server.triton.gpus import visible_gpus
from bgem3_server.triton.installation import Installation

TRUNK_BACKEND: Final = "onnxruntime"


@dataclass(frozen=True)
class ProfileChoice:
    """A profile, and why it was chosen."""

    profile: Profile
    reason: str


def choose_profile(
    requested: Profile | Literal["auto"], installation: Installation
) -> ProfileChoice:
    """Return the profile to load: what was asked for, or what this machine can run."""
    if requested != "auto":
        return ProfileChoice(requested, "as asked for")
    gpus = len(visible_gpus())
    if not gpus:
        return ProfileChoice("cpu", "no NVIDIA GPU is visible")
    if not installation.has_backend(TRUNK_BACKEND):
        return ProfileChoice(
            "cpu",
            f"{gpus} NVIDIA GPU(s), but {installation.origin} has no {TRUNK_BACKEND} backend: "
            "run in NVIDIA's Triton container to use them",
        )
    return ProfileChoice("gpu", f"{gpus} NVIDIA GPU(s)")
