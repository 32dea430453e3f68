"""SIGKILL in the middle of a run on a real store: the next one finishes it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from kill_moments import Kills, moment_count
from killed_index import (
    assert_same,
    folder_contents,
    index_here,
    started_index,
    write_first,
    write_second,
)


def run_and_kill(folder: Path, store_folder: Path, seconds: float) -> bool:
    """Kill a run so long after it began; return whether it was under way."""
    with started_index(folder, str(store_folder)) as process:
        time.sleep(seconds)
        process.kill()
    return process.returncode != 0


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """The next run gives, to the last bit, what a run that was never disturbed gives."""
    folder, start, fresh = tmp_path / "folder", tmp_path / "start", tmp_path / "fresh"
    folder.mkdir()
    write_first(folder)
    index_here(folder, str(start))
    before = folder_contents(start)
    write_second(folder)
    shutil.copytree(start, fresh)
    begun = time.monotonic()
    index_here(folder, str(fresh))
    kills = Kills("the process of bgem3 index", time.monotonic() - begun, moment_count(2))
    expected = folder_contents(fresh)
    for moment, seconds in enumerate(kills.moments()):
        killed = tmp_path / f"killed{moment}"
        shutil.copytree(start, killed)
        kills.landed += run_and_kill(folder, killed, seconds)
        index_here(folder, str(killed))

        assert_same(expected, folder_contents(killed))
        shutil.rmtree(killed)

    assert before.keys() != expected.keys()
    assert kills.landed > 0, kills.report()
    kills.report()
