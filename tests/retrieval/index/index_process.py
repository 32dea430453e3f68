"""``bgem3 index`` in a process that may be killed: DELAY ATTEMPTS ARGUMENT….

DELAY is how many seconds a faked server takes to answer, or ``real``: then ``--url`` is asked.
ATTEMPTS is how often a request is made to a server or a store that is away. It says ``begun``, and
sends four chunks in a request, so that there are many.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import bgem3_retrieval.connections
import bgem3_retrieval.stores.qdrant.server
from bgem3_client import Client, FakeTransport
from bgem3_client.command_line.main import main
from bgem3_client.retry_policy import RetryPolicy
from bgem3_retrieval.index import command, encoding


def run(delay: str, attempts: str, *arguments: str) -> None:
    """Run the command."""
    wait_until_ready = command.wait_until_ready

    def begin(client: Client) -> None:
        wait_until_ready(client)
        print("begun", flush=True)

    def fake(url: str, say: Callable[[str], None]) -> Client:
        return Client(transport=FakeTransport(delay_seconds=float(delay)))

    command.wait_until_ready = begin
    encoding._BATCH_CHUNKS = 4  # type: ignore[misc]
    if delay != "real":
        command.connect = fake
    bgem3_retrieval.connections._ATTEMPTS = int(attempts)  # type: ignore[misc]
    bgem3_retrieval.stores.qdrant.server.LONG_RUN = RetryPolicy(  # type: ignore[misc]
        attempts=int(attempts), initial_backoff_seconds=0.1
    )
    sys.argv = ["bgem3", "index", *arguments]
    main()


if __name__ == "__main__":
    run(*sys.argv[1:])
