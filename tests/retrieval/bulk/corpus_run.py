"""Running ``bgem3 encode`` into a folder, in this process and in one that can be killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from command_run import Outcome, run_command

import bgem3_retrieval.bulk.command
from bgem3_client import FakeTransport

OUT = "out"


@dataclass
class CorpusCommand:
    """Runs the command in ``folder``; each address has a fake transport of its own.

    Attributes:
        folder: It holds the inputs; shards go to ``out`` in it.
        transports: By address; one that is not there is made when it is asked for.
    """

    folder: Path
    transports: dict[str, FakeTransport] = field(default_factory=dict)

    def __call__(self, *arguments: str, out: str = OUT) -> Outcome:
        """Run it with these arguments, into a folder."""
        return run_command(bgem3_retrieval.bulk.command.encode, [*arguments, "-o", f"{out}/"])

    def transport(self, url: str) -> FakeTransport:
        """Return the transport to an address."""
        return self.transports.setdefault(url, FakeTransport())

    def out(self, name: str = "", out: str = OUT) -> Path:
        """Return a path in the folder of shards."""
        return self.folder / out / name

    def manifest(self, out: str = OUT) -> dict[str, Any]:
        """Return the manifest as a user would read it."""
        found: dict[str, Any] = json.loads(self.out("_manifest.json", out).read_text())
        return found

    def table(self, out: str = OUT) -> pa.Table:
        """Return all shards as one table."""
        return pq.read_table(self.out(out=out))

    def files(self, out: str = OUT) -> dict[str, bytes]:
        """Return the contents of all files in the folder, hidden ones too."""
        return {path.name: path.read_bytes() for path in self.out(out=out).iterdir()}

    def rejected(self, out: str = OUT) -> list[dict[str, Any]]:
        """Return the rejected lines."""
        path = self.out("_rejected.jsonl", out)
        return [json.loads(line) for line in path.read_bytes().splitlines()]

    def sent_texts(self) -> list[str]:
        """Return the texts of all requests, without those that ask whether a server is ready."""
        texts = [
            text.decode()
            for transport in self.transports.values()
            for request in transport.requests
            for text in request.texts
        ]
        return [text for text in texts if text != "ready?"]


# The command in a process of its own, with a fake server that takes its time.
_PROCESS = """
import sys
import bgem3_retrieval.bulk.command as command
from bgem3_client import AsyncClient, FakeTransport
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint

def connect(url, limits):
    transport = FakeTransport(delay_seconds=float(sys.argv[1]))
    return Endpoint(url, AsyncClient(transport=transport, limits=limits))

Endpoint.connect = connect
command.encode(sys.argv[2:])
"""


def process_arguments(delay_seconds: float, arguments: Sequence[str]) -> list[str]:
    """Return what starts the command in a process, each answer of its server so much later."""
    return [sys.executable, "-c", _PROCESS, str(delay_seconds), *arguments]
