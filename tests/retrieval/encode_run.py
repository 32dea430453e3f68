"""Running ``bgem3 encode`` in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

import bgem3_retrieval.bulk.command
from bgem3_client import BgeM3Error, FakeTransport


@dataclass(frozen=True)
class Outcome:
    """What a run of the command came to."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass
class EncodeCommand:
    """Runs the command in ``folder``, with the fake transport as its server."""

    folder: Path
    transport: FakeTransport

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Outcome:
        """Run it with these arguments."""
        result = CliRunner().invoke(bgem3_retrieval.bulk.command.encode, arguments, input=stdin)
        error = result.exception
        if isinstance(error, BgeM3Error):
            # As `bgem3_client.command_line.main` does with it.
            return Outcome(error.exit_code, result.stdout, f"{result.stderr}error: {error}\n")
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return Outcome(result.exit_code, result.stdout, result.stderr)

    @property
    def sent_texts(self) -> list[str]:
        """The texts of all requests after the one that asks whether the server is ready."""
        return [text.decode() for request in self.transport.requests[1:] for text in request.texts]
