"""One step of an installation: a program, its log, and its failure in a sentence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class StepError(Exception):
    """A step failed; the message is a sentence."""


def run_step(
    command: Sequence[str],
    log: Path,
    timeout_seconds: float,
    failure: str,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        log: Exists; what the program prints is added to it.
        timeout_seconds: When it is ended.
        failure: What failed, as the beginning of a sentence.
        variables: Of the environment, beside this process's own.

    Raises:
        StepError: It ended with another status than 0, or was ended.
    """
    before = log.stat().st_size
    with log.open("ab") as file:
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                check=False,
                env={**os.environ, **(variables or {})},
            ).returncode
        except subprocess.TimeoutExpired:
            raise StepError(
                f"{failure}: it took longer than {timeout_seconds / 60:.0f} minutes"
            ) from None
    if status != 0:
        printed = log.read_bytes()[before:].decode(errors="replace")
        raise StepError(f"{failure}: {_last_complaint(printed) or f'exit status {status}'}")


def _last_complaint(printed: str) -> str:
    """Return the line that says most of a failed step, for people to read."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    complaints = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (complaints or lines or [""])[-1]
