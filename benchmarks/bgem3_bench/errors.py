"""What can go wrong with a benchmark, told apart by type.

* BgeM3Error
  + WorkError          the texts, mixes or systems asked for are not there
  + ResultsError       a file of results cannot be read
  + WorkerError        a system under test failed; becomes a row of the report
"""

from __future__ import annotations

from typing import Final, Literal

from bgem3_client.errors import BgeM3Error

FailureKind = Literal[
    "unsupported", "not_installed", "unavailable", "failed", "out_of_memory", "died", "timeout"
]

FAILURE_WORDS: Final[dict[FailureKind, str]] = {
    "unsupported": "not offered",
    "not_installed": "not installed",
    "unavailable": "cannot be had",
    "failed": "failed",
    "out_of_memory": "out of memory",
    "died": "its process died",
    "timeout": "no answer in time",
}
"""How a report says it."""


class WorkError(BgeM3Error):
    """The work that was asked for does not exist, or cannot be read."""

    exit_code = 2


class ResultsError(BgeM3Error):
    """A file of results is damaged, or of another release."""

    exit_code = 2


class WorkerError(BgeM3Error):
    """A system under test could not do what was asked; the message says why."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
