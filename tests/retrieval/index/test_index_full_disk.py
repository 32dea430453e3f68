"""A disk that runs full in the middle of a run on a real store: the next one finishes it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from faults.full_disk import FullDisk
from kill_moments import Kills, moment_count
from killed_index import (
    assert_same,
    folder_contents,
    index_here,
    started_index,
    write_first,
    write_second,
)


def test_the_disk_runs_full_at_random_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says so and ends; the next one gives what a run that had room gives."""
    folder, start, fresh = tmp_path / "folder", tmp_path / "start", tmp_path / "fresh"
    folder.mkdir()
    write_first(folder)
    index_here(folder, str(start))
    write_second(folder)
    shutil.copytree(start, fresh)
    begun = time.monotonic()
    index_here(folder, str(fresh))
    fills = Kills("the disk of bgem3 index", time.monotonic() - begun, moment_count(1))
    expected = folder_contents(fresh)
    for moment, seconds in enumerate(fills.moments()):
        store = tmp_path / f"store{moment}"
        shutil.copytree(start, store)
        disk = FullDisk(store, tmp_path)
        with monkeypatch.context() as environment:
            for name, value in disk.environment.items():
                environment.setenv(name, value)
            with started_index(folder, str(store)) as process:
                time.sleep(seconds)
                disk.fill()
                _, complaint = process.communicate(timeout=60)
        disk.clear()
        fills.landed += process.returncode != 0

        assert process.returncode == 0 or "full" in complaint, complaint
        assert "Traceback" not in complaint
        index_here(folder, str(store))
        assert_same(expected, folder_contents(store))
        shutil.rmtree(store)

    assert fills.landed > 0, fills.report()
    fills.report()
