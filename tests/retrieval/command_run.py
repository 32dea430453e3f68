"""Running a subcommand in this process, and what it came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.testing import CliRunner

from bgem3_client import BgeM3Error


@dataclass(frozen=True)
class Outcome:
    """What a run of a command came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The JSON value that it printed."""
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """The JSON objects that it printed, one a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def run_command(
    command: click.Command, arguments: Sequence[str], stdin: bytes | None = None
) -> Outcome:
    """Run a command with these arguments; an error of this project ends it, any other is raised."""
    result = CliRunner().invoke(command, arguments, input=stdin)
    error = result.exception
    if isinstance(error, BgeM3Error):
        # As `bgem3_client.command_line.main` does with it.
        return Outcome(error.exit_code, result.stdout, f"{result.stderr}error: {error}\n")
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Outcome(result.exit_code, result.stdout, result.stderr)
