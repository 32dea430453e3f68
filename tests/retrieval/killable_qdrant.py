"""A Qdrant server in a process of its own, to be killed and started again with what it had.

It is the double of `qdrant_server_process`, or, where BGEM3_TEST_QDRANT_BINARY names a `qdrant`
executable, that. No such executable was at hand when this was written: that it is started rightly
is not verified.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from kept_port import kept_port
from qdrant_client import QdrantClient

BINARY = os.environ.get("BGEM3_TEST_QDRANT_BINARY")
_DOUBLE = Path(__file__).parent / "stores" / "qdrant_server_process.py"
_START_SECONDS = 60.0


class KillableQdrant:
    """It has a folder and two ports for as long as it lives; leave the block to end it."""

    def __init__(self, folder: Path) -> None:
        """Start it.

        Args:
            folder: Its storage; made where it is not there.
        """
        self.folder = folder
        self._http_port = kept_port()
        self._grpc_port = kept_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, *, grpc: bool) -> str:
        """Return the store's address, for one of its interfaces."""
        return f"http://127.0.0.1:{self._http_port}?grpc_port={self._grpc_port if grpc else 0}"

    def client(self) -> QdrantClient:
        """Return a client to look at what is there."""
        return QdrantClient(f"http://127.0.0.1:{self._http_port}", check_compatibility=False)

    def start(self) -> None:
        """Start it where it is not running; return when it answers on both ports."""
        if self._process is not None:
            return
        work = self.folder.parent
        command = [BINARY] if BINARY else [sys.executable, str(_DOUBLE)]
        with (work / "qdrant.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=work,  # the real one leaves files there
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "QDRANT__STORAGE__STORAGE_PATH": str(self.folder),
                    "QDRANT__STORAGE__SNAPSHOTS_PATH": str(work / "snapshots"),
                    "QDRANT__SERVICE__HOST": "127.0.0.1",
                    "QDRANT__SERVICE__HTTP_PORT": str(self._http_port),
                    "QDRANT__SERVICE__GRPC_PORT": str(self._grpc_port),
                    "QDRANT__TELEMETRY_DISABLED": "true",
                },
            )
        give_up = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (work / "qdrant.log").read_text()
            assert time.monotonic() < give_up, (work / "qdrant.log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{self._http_port}/").raise_for_status()
            socket.create_connection(("127.0.0.1", self._grpc_port)).close()
        except (httpx.HTTPError, OSError):
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
