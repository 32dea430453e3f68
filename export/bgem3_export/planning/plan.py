"""A plan: where the memory goes, and the settings that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bgem3_export.trunk_config import BatchLimits

Where = Literal["config.pbtxt", "environment"]


@dataclass(frozen=True)
class Cost:
    """One thing that takes memory.

    Attributes:
        why: How its size was worked out.
    """

    name: str
    size_bytes: int
    why: str


@dataclass(frozen=True)
class Setting:
    """One setting that follows.

    Attributes:
        where: In the trunk's configuration, or in the environment of `bgem3 serve` or the
            containers.
    """

    where: Where
    name: str
    value: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What is there, what takes it, and what to set.

    Attributes:
        memory_bytes: Of a GPU, or for the whole service on a CPU.
        costs: Their sum is at most that.
        settings: What to set.
        limits: Those of a batch among the settings.
        instances: Of the trunk, on each GPU or on the CPU.
        notes: What the reader should know beside that.
    """

    title: str
    memory_bytes: int
    costs: tuple[Cost, ...]
    settings: tuple[Setting, ...]
    limits: BatchLimits
    instances: int
    notes: tuple[str, ...] = field(default=())

    @property
    def used_bytes(self) -> int:
        """All costs together."""
        return sum(cost.size_bytes for cost in self.costs)
