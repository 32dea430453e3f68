"""When to kill, and what came of it."""

from __future__ import annotations

import os
import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

_MANY = 10


def moment_count(few: int) -> int:
    """Return how often to kill: so often, or as often as a make target says."""
    return int(os.environ.get("BGEM3_KILL_MOMENTS", few))


@dataclass
class Kills:
    """Random moments in a run, and whether the kills landed in it.

    Attributes:
        victim: What is killed.
        whole_seconds: How long a run takes that is not disturbed; less after kills that came late.
        count: How often it is killed.
        landed: How often that was in the middle of a run.
        extra_seconds: How much longer than an undisturbed one each run took in the end, without the
            time for which the victim was away.
    """

    victim: str
    whole_seconds: float
    count: int
    landed: int = 0
    extra_seconds: list[float] = field(default_factory=list)

    def moments(self) -> Iterator[float]:
        """Yield seconds since a run began, from all parts of it in turn.

        Few moments are of the middle, since one that comes too late shows nothing.
        """
        seed = os.environ.get("BGEM3_KILL_SEED") or str(random.SystemRandom().randrange(10**6))
        print(f"{self.victim}: BGEM3_KILL_SEED={seed}", file=sys.stderr)
        generator = random.Random(f"{self.victim} {seed}")
        first, last = (0.0, 1.0) if self.count >= _MANY else (0.1, 0.6)
        for number in range(self.count):
            share = (number + generator.random()) / self.count
            landed = self.landed
            yield self.whole_seconds * (first + (last - first) * share)
            if self.landed == landed:
                # It came too late: the machine is quicker than when the run was timed.
                self.whole_seconds *= 0.8

    def report(self) -> str:
        """Return it in a line, which is printed too."""
        line = (
            f"{self.victim}: killed {self.count} times, {self.landed} of them in the middle of a "
            f"run of {self.whole_seconds:.1f} s"
        )
        if self.extra_seconds:
            line += (
                f"; it took {statistics.median(self.extra_seconds):.1f} s longer (median; "
                f"at most {max(self.extra_seconds):.1f} s) than that and the time away"
            )
        print(line, file=sys.stderr)
        return line
