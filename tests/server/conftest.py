"""A tiny model repository, `bgem3 serve` as a process, and requests to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from serve_command import Serve, family, still_running
from tiny_model import write_tiny_model


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., Path]:
    """Write a repository whose `bge_m3` answers with the length of each text in bytes."""

    def make(initialize: str = "pass") -> Path:
        repository = tmp_path / "repository"
        write_tiny_model(repository, initialize)
        return repository

    return make


@pytest.fixture
def start_serve(tmp_path: Path) -> Iterator[Callable[..., Serve]]:
    """Start `bgem3 serve` on free ports; whatever becomes of the test, it is stopped.

    Without the HTTP service unless it is asked for: the tiny model gives no vectors.
    """
    started: list[Serve] = []

    def start(repository: Path, *options: str, gateway: bool = False) -> Serve:
        folder = tmp_path / f"serve{len(started)}"
        folder.mkdir()
        ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
        ports += ["--host", "127.0.0.1", "--port", "0"] if gateway else ["--no-gateway"]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [
                    *(Path(sys.executable).with_name("bgem3"), "serve", repository, *ports),
                    *("--ready-file", folder / "ready.json", *options),
                ],
                stdout=out,
                stderr=err,
            )
        started.append(Serve(process, folder))
        return started[-1]

    yield start

    for serve in started:
        if serve.process.poll() is None:
            end(serve)


def end(serve: Serve) -> None:
    """End a server at once, by force where it does not follow."""
    processes = family(psutil.Process(serve.process.pid))
    # The second signal stops at once, and cleans up.
    serve.process.send_signal(signal.SIGINT)
    serve.process.send_signal(signal.SIGTERM)
    try:
        serve.process.wait(10)
    except subprocess.TimeoutExpired:
        serve.process.kill()
        serve.process.wait()
    for process in still_running(processes):
        process.kill()


@pytest.fixture
def requests_in_flight() -> Iterator[ThreadPoolExecutor]:
    """Threads to send requests from."""
    with ThreadPoolExecutor(16) as pool:
        yield pool
