"""What a run takes of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resources:
    """Workers, and what each of them takes.

    Attributes:
        workers: So many at the same time, at most.
        cpus: Of each.
        gpus: Of each; a share of one is fine.
    """

    workers: int
    cpus: int = 1
    gpus: float = 0

    def of_a_task(self) -> dict[str, Any]:
        """Return Ray's options for a task of a worker's."""
        if not self.gpus:
            return {"num_cpus": self.cpus}
        # Ray would end the process after each task, to free the GPU: the model is to stay there.
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_calls": 0}

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.workers} were asked for, each takes {self.cpus} CPU{gpus}"
