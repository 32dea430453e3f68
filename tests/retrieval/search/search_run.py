"""Running ``bgem3 search`` in this process."""

from __future__ import annotations

from dataclasses import dataclass

from command_run import Outcome, run_command
from memory_store import MemoryStore

import bgem3_retrieval.search.command


@dataclass
class SearchCommand:
    """Runs the command over a store in memory, with the fake transport as its server."""

    store: MemoryStore

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Outcome:
        """Run it with these arguments."""
        outcome = run_command(bgem3_retrieval.search.command.search, arguments, stdin)
        # The command has closed it; the next one finds what is in it.
        self.store.closed = False
        return outcome
