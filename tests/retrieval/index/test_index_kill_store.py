"""SIGKILL of the Qdrant server while documents are indexed into it.

The server is a double unless BGEM3_TEST_QDRANT_BINARY names the real one: see `killable_qdrant`.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from kill_moments import Kills, moment_count
from killable_qdrant import KillableQdrant
from killed_index import (
    IMPATIENT,
    PATIENT,
    assert_same,
    contents,
    index_here,
    started_index,
    write_first,
    write_second,
)


def test_server_killed_at_random_moments(tmp_path: Path) -> None:
    """It comes back and the run goes on, or it does not and the next run does the rest.

    In the end all is, to the last bit, as after a run that was never disturbed.
    """
    folder, start = tmp_path / "folder", tmp_path / "start" / "storage"
    folder.mkdir()
    write_first(folder)
    start.parent.mkdir()
    with KillableQdrant(start) as qdrant:
        index_here(folder, qdrant.url(grpc=True))
    write_second(folder)
    with KillableQdrant(_copy(start, tmp_path / "fresh")) as qdrant:
        begun = time.monotonic()
        index_here(folder, qdrant.url(grpc=True))
        kills = Kills("the Qdrant server", time.monotonic() - begun, moment_count(1))
        expected = contents(qdrant.client())
    for number, seconds in enumerate(kills.moments()):
        with KillableQdrant(_copy(start, tmp_path / f"killed{number}")) as qdrant:
            address = qdrant.url(grpc=number % 4 in (0, 3))
            if number % 2:
                _stays_away(kills, qdrant, folder, address, seconds)
            else:
                _comes_back(kills, qdrant, folder, address, seconds)

            assert_same(expected, contents(qdrant.client()))
        shutil.rmtree(tmp_path / f"killed{number}")

    assert kills.landed > 0, kills.report()
    kills.report()


def _comes_back(
    kills: Kills, qdrant: KillableQdrant, folder: Path, address: str, seconds: float
) -> None:
    """The command waits for it, and says so in a line where that takes long."""
    with started_index(folder, address, attempts=PATIENT) as process:
        begun = time.monotonic()
        time.sleep(seconds)
        landed = _kill(qdrant, process)
        killed = time.monotonic()
        qdrant.start()
        away_seconds = time.monotonic() - killed
        _, said = process.communicate(timeout=120)
    if process.returncode and "stopped" not in said:
        _ended_at_once(process, said)
        index_here(folder, address)
        return
    if landed:
        kills.landed += 1
        kills.extra_seconds.append(time.monotonic() - begun - kills.whole_seconds - away_seconds)

    assert 0 == process.returncode, said
    assert said.count("waiting for") == said.count("is back") <= 1, said
    assert len(said.splitlines()) <= 4, said


def _stays_away(
    kills: Kills, qdrant: KillableQdrant, folder: Path, address: str, seconds: float
) -> None:
    """The command ends with what to do; when the server is there again, the next one goes on."""
    with started_index(folder, address, attempts=IMPATIENT) as process:
        time.sleep(seconds)
        landed = _kill(qdrant, process)
        _, said = process.communicate(timeout=120)
    qdrant.start()
    if process.returncode and "stopped" not in said:
        _ended_at_once(process, said)
    elif process.returncode:
        assert landed
        kills.landed += 1
        assert 1 == process.returncode, said
        assert "Traceback" not in said
        assert said.count("error: Qdrant at http://127.0.0.1:") == 1, said
        assert "it cannot be reached" in said
        assert "run the command again" in said
    index_here(folder, address)


def _ended_at_once(process: subprocess.Popen[str], said: str) -> None:
    """Before a server has answered once, it is not waited for: more likely there is none."""
    assert 1 == process.returncode, said
    assert said.startswith("error: Qdrant at http://127.0.0.1:"), said
    assert len(said.splitlines()) == 1, said


def _kill(qdrant: KillableQdrant, process: subprocess.Popen[str]) -> bool:
    """Kill the server; return whether the command was still at work."""
    qdrant.kill()
    return process.poll() is None


def _copy(storage: Path, folder: Path) -> Path:
    """Copy a storage that no server has open into a new folder."""
    shutil.copytree(storage, folder / "storage")
    return folder / "storage"
