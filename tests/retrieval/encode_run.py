"""Running ``bgem3 encode`` in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from command_run import Outcome, run_command

import bgem3_retrieval.bulk.command
from bgem3_client import FakeTransport


@dataclass
class EncodeCommand:
    """Runs the command in ``folder``, with the fake transport as its server."""

    folder: Path
    transport: FakeTransport

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Outcome:
        """Run it with these arguments."""
        return run_command(bgem3_retrieval.bulk.command.encode, arguments, stdin)

    @property
    def sent_texts(self) -> list[str]:
        """The texts of all requests after the one that asks whether the server is ready."""
        return [text.decode() for request in self.transport.requests[1:] for text in request.texts]
