"""`start_server.sh`, from a folder that looks like a clone in which `make install` was run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The script, and the environment that the tests run in, in the place of its own."""
    folder = tmp_path / "clone"
    (folder / ".venv").mkdir(parents=True)
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in ("start_server.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, folder)
    (folder / ".venv" / "installed").touch()
    return folder


@pytest.fixture
def demo_clone(clone: Path, demo_repository: Path) -> Path:
    """The same, where the demo model has been exported before: its weights are not copied."""
    shutil.copytree(demo_repository, clone / "models" / "demo", copy_function=os.link)
    return clone


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test has started; it is ended after it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def run(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script from another folder, to its end."""
    return subprocess.run(
        ["bash", str(clone / "start_server.sh"), *arguments],
        cwd=clone.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.live
def test_it_serves_the_demo_model(demo_clone: Path, started: list[subprocess.Popen[str]]) -> None:
    """With no argument, and says so; its process is the server, so signals stop it in order."""
    ready = demo_clone / "ready.json"
    ports = [f"--{name}port=0" for name in ("", "grpc-", "http-", "metrics-")]
    started.append(
        subprocess.Popen(
            ["bash", str(demo_clone / "start_server.sh"), "--", *ports, f"--ready-file={ready}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    server = started[0]
    deadline = time.monotonic() + 120
    while not ready.exists():
        assert server.poll() is None, server.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    url = json.loads(ready.read_text())["service"]
    answer = httpx.post(f"{url}/embed", json={"texts": ["如何重置密码"]})
    server.send_signal(signal.SIGTERM)
    printed, complained = server.communicate(timeout=60)

    assert 384 == len(answer.json()["embeddings"][0])
    assert 0 == server.returncode
    assert f"http://0.0.0.0:{url.rpartition(':')[2]}" == printed.splitlines()[-1]
    assert complained.startswith("demo model: 384 dimensions, not BGE-M3")


def test_it_says_which_python_it_needs(clone: Path) -> None:
    """With how to get one, and how to name one that is not on the PATH."""
    (clone / ".venv" / "installed").unlink()

    result = run(clone, PYTHON="/bin/false")

    assert 1 == result.returncode
    assert "Python 3.11 or 3.12 is needed" in result.stderr
    assert "PYTHON=/path/to/python3.11 bash start_server.sh" in result.stderr


def test_options_go_behind_two_dashes(clone: Path) -> None:
    """Else a mistake in an option would be taken for a model."""
    result = run(clone, "--port", "8080")

    assert 1 == result.returncode
    assert "bash start_server.sh -- --port 8080" in result.stderr


def test_a_model_that_is_not_there(clone: Path) -> None:
    """The export says so, and nothing is served."""
    result = run(clone, "/no/such/folder")

    assert 0 != result.returncode
    assert "/no/such/folder" in result.stderr
    assert "Traceback" not in result.stderr


def test_help(clone: Path) -> None:
    """The examples are there for people who have not read the README."""
    result = run(clone, "--help")

    assert 0 == result.returncode
    assert "bash start_server.sh BAAI/bge-m3" in result.stdout
    assert "set -euo" not in result.stdout
