"""A running `bgem3 gateway`, in front of a Triton that is not one."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fake_triton import Behaviour, grpc_server
from waiting import wait_until


@contextmanager
def fake_triton(behaviour: Behaviour) -> Iterator[str]:
    """A gRPC server in a thread of this process; gives its address."""
    loop = asyncio.new_event_loop()
    address: list[str] = []
    stop = asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with grpc_server(behaviour) as url:
            address.append(url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield address[0].removeprefix("grpc://").replace("localhost", "127.0.0.1")
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@dataclass
class GatewayProcess:
    """A running `bgem3 gateway`."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def printed(self) -> str:
        """Its standard output so far."""
        return (self.folder / "stdout").read_text()

    @property
    def complained(self) -> str:
        """Its standard error so far, but for its log."""
        lines = (self.folder / "stderr").read_text().splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("{"))

    def wait_ready(self) -> str:
        """Return its URL once it answers texts; fail when it ends instead."""
        file = self.folder / "ready.json"
        wait_until(lambda: file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.complained
        url: str = json.loads(file.read_text())["service"]
        return url

    def wait_listening(self) -> str:
        """Return its URL once it listens."""
        wait_until(lambda: self.printed.count("\n") > 0 or self.process.poll() is not None)
        return (
            "http://127.0.0.1:" + self.printed.splitlines()[0].partition(" (")[0].rpartition(":")[2]
        )


def embed(url: str, text: str = "hello", verify: ssl.SSLContext | bool = False) -> httpx.Response:
    """Ask for the dense vector of a text, on a connection of its own."""
    with httpx.Client(timeout=30, verify=verify) as client:
        return client.post(f"{url}/v1/embeddings", json={"model": "bge-m3", "input": [text]})
