"""What a Triton behind the service is there for."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a Triton is there for."""

    PRIMARY = "primary"
    """It answers."""
    FALLBACK = "fallback"
    """It answers while the primary cannot."""
    CANARY = "canary"
    """It answers a share of the requests, to be tried."""


class CanaryChoice(StrEnum):
    """Whether the canary answers a request, where there is one."""

    BY_SHARE = "by share"
    """If the texts are among the share that is its own."""
    ALWAYS = "always"
    NEVER = "never"
