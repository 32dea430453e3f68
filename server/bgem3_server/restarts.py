"""When a process that failed is started again, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RestartPolicy:
    """How failures are answered.

    Attributes:
        limit: Restarts in a row before giving up; 0 never restarts.
        delay_seconds: Wait before the first; each next wait is doubled.
        delay_limit_seconds: The longest wait.
        reset_seconds: Time in service after which earlier failures no longer count.
    """

    limit: int = 5
    delay_seconds: float = 1
    delay_limit_seconds: float = 30
    reset_seconds: float = 60


class Restarts:
    """The failures of one process, counted.

    Attributes:
        in_a_row: How many there were without a time in service between them.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self.in_a_row = 0
        self.policy = policy

    def next_delay_seconds(self, ran_seconds: float) -> float | None:
        """Count a failure and return the wait before the next start; None to give up.

        Args:
            ran_seconds: How long the process had run.
        """
        policy = self.policy
        if ran_seconds > policy.reset_seconds:
            self.in_a_row = 0
        self.in_a_row += 1
        if self.in_a_row > policy.limit:
            return None
        return min(policy.delay_seconds * 2.0 ** (self.in_a_row - 1), policy.delay_limit_seconds)

    def given_up(self, cause: str) -> str:
        """Return the words for the end, once there is no next start."""
        limit = self.policy.limit
        return f"{cause}; given up after {limit} restarts in a row" if limit else cause
