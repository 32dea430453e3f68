"""Running ``bgem3 search`` in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner
from memory_store import MemoryStore

import bgem3_retrieval.search.command
from bgem3_client import BgeM3Error


@dataclass(frozen=True)
class Outcome:
    """What a run of the command came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The JSON objects that it printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass
class SearchCommand:
    """Runs the command over a store in memory, with the fake transport as its server."""

    store: MemoryStore

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Outcome:
        """Run it with these arguments."""
        result = CliRunner().invoke(bgem3_retrieval.search.command.search, arguments, input=stdin)
        # The command has closed it; the next one finds what is in it.
        self.store.closed = False
        error = result.exception
        if isinstance(error, BgeM3Error):
            # As `bgem3_client.command_line.main` does with it.
            return Outcome(error.exit_code, result.stdout, f"{result.stderr}error: {error}\n")
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return Outcome(result.exit_code, result.stdout, result.stderr)
