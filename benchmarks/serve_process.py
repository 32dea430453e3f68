"""``bgem3 serve`` as a user starts it, for what is measured on all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

_READY_SECONDS: Final = 120


@dataclass(frozen=True)
class ServeProcess:
    """A running ``bgem3 serve``.

    Attributes:
        pid: Its process id; Triton and the service are below it.
        addresses: What its ready file says: ``service``, ``grpc``, ``http``, ``metrics``.
        log: The file with all that it says.
    """

    pid: int
    addresses: Mapping[str, str]
    log: Path


@contextmanager
def serve_process(
    repository: Path, folder: Path, settings: Mapping[str, str]
) -> Iterator[ServeProcess]:
    """Run ``bgem3 serve`` on free ports while the block runs.

    Args:
        repository: What is served.
        folder: For its log and its ready file.
        settings: Environment variables, beside those that are there.

    Raises:
        click.ClickException: It did not come up.
    """
    ready, log = folder / "ready.json", folder / "serve.log"
    ports = [f"--{name}=0" for name in ("port", "grpc-port", "http-port", "metrics-port")]
    command = [str(Path(sys.executable).with_name("bgem3")), "serve", str(repository)]
    command += [*ports, "--host=127.0.0.1", f"--ready-file={ready}"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=written
        )
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(log.read_text(errors="replace"))
            time.sleep(0.2)
        yield ServeProcess(process.pid, json.loads(ready.read_text(encoding="utf-8")), log)
    finally:
        process.terminate()
        process.wait()
