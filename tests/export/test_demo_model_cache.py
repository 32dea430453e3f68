"""The demo model is built once, whole or not at all, and again when what makes it changes."""

from __future__ import annotations

import errno
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bgem3_export.demo_model import build, build_demo_model, cache, demo_model
from bgem3_export.demo_model.command import demo_model as command
from bgem3_export.errors import DirectoryInUseError, DiskSpaceError, ExportError


@pytest.fixture
def builds(monkeypatch):
    """The directories that were built, by a builder that writes one small file."""
    built: list[Path] = []

    def write(directory, wheel_folder, progress):
        progress("writing")
        (directory / "config.json").write_text("{}")
        built.append(directory)

    monkeypatch.setattr(build, "write_demo_model", write)
    return built


def failing_builder(error):
    """Return a builder that writes one file and then raises ``error``."""

    def write(directory, wheel_folder, progress):
        (directory / "config.json").write_text("{}")
        raise error

    return write


def test_the_model_is_built_once(builds, tmp_path):
    """The second call returns the same directory and builds nothing."""
    first = demo_model(tmp_path)
    second = demo_model(tmp_path)

    assert first == second
    assert sorted(path.name for path in first.iterdir()) == ["config.json", "demo_model_key.txt"]
    assert len(builds) == 1


def test_callers_at_once_share_one_build(builds, tmp_path, monkeypatch):
    """One of several callers builds; the others say that they wait, and take its result."""
    callers, waiting = 4, Semaphore(0)
    write = build.write_demo_model

    def write_when_all_others_wait(directory, wheel_folder, progress):
        for _ in range(callers - 1):
            assert waiting.acquire(timeout=10)
        write(directory, wheel_folder, progress)

    def progress(step):
        if step.startswith("waiting for another process"):
            waiting.release()

    monkeypatch.setattr(build, "write_demo_model", write_when_all_others_wait)
    with ThreadPoolExecutor(callers) as pool:
        directories = set(pool.map(lambda _: demo_model(tmp_path, progress), range(callers)))

    assert len(directories) == 1
    assert len(builds) == 1


def test_other_wheels_make_another_model(builds, tmp_path, monkeypatch):
    """A new release of a part is not served from the old cache."""
    first = demo_model(tmp_path)
    changed = (replace(cache.WHEELS[0], sha256="0" * 64), *cache.WHEELS[1:])
    monkeypatch.setattr(cache, "WHEELS", changed)

    assert first != demo_model(tmp_path)
    assert len(builds) == 2


def test_the_key_follows_the_builders_source(tmp_path, monkeypatch):
    """A changed step changes the key; a changed command or cache does not."""
    package = tmp_path / "demo_model"
    shutil.copytree(Path(cache.__file__).parent, package)
    monkeypatch.setattr(cache, "__file__", str(package / "cache.py"))
    keys = [cache.demo_model_key()]
    for name in ("command.py", "cache.py", "heads.py", "card.md"):
        (package / name).write_text("changed")
        keys.append(cache.demo_model_key())

    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    """After an error the next call starts anew."""
    monkeypatch.setattr(build, "write_demo_model", failing_builder(RuntimeError("no")))
    with pytest.raises(RuntimeError, match="no"):
        build_demo_model(tmp_path / "model")

    assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]


def test_an_interrupted_build_is_cleared_away(builds, tmp_path):
    """What a killed build left does not end up in the model."""
    leftover = tmp_path / ".model.building"
    leftover.mkdir()
    (leftover / "half.bin").write_text("half")
    model = build_demo_model(tmp_path / "model")

    assert not leftover.exists()
    assert not (model / "half.bin").exists()


def test_an_older_demo_model_is_replaced(builds, tmp_path):
    """A named directory with a demo model made by other code is built anew, as a whole."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "demo_model_key.txt").write_text("older\n")
    (model / "old.bin").write_text("old")

    assert model == build_demo_model(model)
    assert sorted(path.name for path in model.iterdir()) == ["config.json", "demo_model_key.txt"]


def test_another_directory_is_not_overwritten(builds, tmp_path):
    """A directory that holds something else stays as it is."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DirectoryInUseError, match="holds no demo model"):
        build_demo_model(tmp_path)

    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert builds == []


def test_too_little_disk_is_said_before_the_download(builds, tmp_path, monkeypatch):
    """The error says how much is needed and how much is free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=12_000_000))
    with pytest.raises(DiskSpaceError, match=r"needs 700 MB .* and 12 MB are free"):
        demo_model(tmp_path)

    assert builds == []


def test_a_disk_that_runs_full_is_said(tmp_path, monkeypatch):
    """No space during the build is told apart from other faults of the disk."""
    full = failing_builder(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(build, "write_demo_model", full)

    with pytest.raises(DiskSpaceError, match="ran full"):
        demo_model(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    """A cache folder below a file is an error of the export, and names the place."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError, match=r"cannot be written to .*file"):
        demo_model(tmp_path / "file")


@pytest.mark.parametrize(
    ("named", "expected"),
    [("/cache/here", "/cache/here/bgem3"), ("relative", "/home/me/.cache/bgem3")],
)
def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch, named, expected):
    """XDG_CACHE_HOME counts when it is absolute; else ~/.cache."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", named)

    assert Path(expected) == cache.cache_folder()


def test_the_command_prints_the_path_alone_on_stdout(builds, tmp_path, monkeypatch):
    """Progress and the warning that this is not BGE-M3 go to stderr, the path to stdout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    in_cache = CliRunner().invoke(command, [])
    named = CliRunner().invoke(command, [str(tmp_path / "model")])

    assert f"{demo_model()}\n" == in_cache.stdout
    assert f"{tmp_path / 'model'}\n" == named.stdout
    assert "384 dimensions, not BGE-M3" in named.stderr
    assert len(builds) == 2
