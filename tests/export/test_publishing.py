"""A folder appears complete or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from bgem3_export import publishing
from bgem3_export.errors import DiskSpaceError, RepositoryError
from bgem3_export.publishing import check_free_space, published


@pytest.fixture
def target(tmp_path) -> Path:
    """The folder to publish; nothing is there yet."""
    return tmp_path / "parent" / "repository"


@pytest.fixture(params=["exchange", "two renames"])
def existing(request, target, monkeypatch) -> Path:
    """A published folder, replaced in one step or, as on a network file system, in two."""
    if request.param == "two renames":
        no_exchange = SimpleNamespace(renameat2=lambda *arguments: -1)
        monkeypatch.setattr(publishing.ctypes, "CDLL", lambda *arguments, **options: no_exchange)
    (target / "1").mkdir(parents=True)
    (target / "1" / "weights").write_text("old weights")
    (target / "manifest").write_text("old")
    return target


def tree(directory: Path) -> dict[str, str]:
    """Return the content of each file below a folder, hidden ones included."""
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_a_new_folder_appears_at_the_end(target):
    """Its parents are made; until the end there is nothing under its name."""
    with published(target) as build:
        (build / "file").write_text("new")
        before = target.exists()

    assert not before
    assert {"repository/file": "new"} == tree(target.parent)
    assert 0o755 == target.stat().st_mode & 0o777


def test_an_existing_folder_is_replaced_at_the_end(existing):
    """The build begins as a copy of it; nothing is left beside it."""
    with published(existing) as build:
        begun = tree(build)
        (build / "2").mkdir()
        (build / "2" / "weights").write_text("new weights")
        (build / "manifest").unlink()
        (build / "manifest").write_text("new")
        before = tree(existing)

    assert {"1/weights": "old weights", "manifest": "old"} == begun == before
    assert {
        "repository/1/weights": "old weights",
        "repository/2/weights": "new weights",
        "repository/manifest": "new",
    } == tree(existing.parent)


def test_files_that_stay_are_linked(existing):
    """Gigabytes of an older version are not copied."""
    inode = (existing / "1" / "weights").stat().st_ino
    with published(existing):
        pass

    assert inode == (existing / "1" / "weights").stat().st_ino


def test_files_are_copied_where_there_are_no_links(existing, monkeypatch):
    """Some file systems have none."""

    def no_links(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(publishing.os, "link", no_links)
    with published(existing) as build:
        (build / "1" / "weights").write_text("changed in place")
        before = tree(existing)

    assert "old weights" == before["1/weights"]
    assert "changed in place" == tree(existing)["1/weights"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_leaves_everything_as_it_was(existing, error):
    """Also when somebody presses Ctrl-C."""
    before = tree(existing.parent)
    with pytest.raises(type(error)), published(existing) as build:  # noqa: PT012
        (build / "2").mkdir()
        raise error

    assert before == tree(existing.parent)
    assert [existing] == list(existing.parent.iterdir())


def test_an_error_leaves_no_new_folder(target):
    """Neither under its own name nor under another."""
    with pytest.raises(ValueError, match="no"), published(target):
        raise ValueError("no")

    assert [] == list(target.parent.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_to_be_full(existing, number):
    """Whoever ran into it; a user's share counts as a disk."""
    before = tree(existing.parent)
    with pytest.raises(DiskSpaceError, match=r"is full; make room.*Nothing was published"):  # noqa: SIM117
        with published(existing):
            raise OSError(number, os.strerror(number))

    assert before == tree(existing.parent)
    assert [existing] == list(existing.parent.iterdir())


def test_other_errors_of_the_system_pass(target):
    """They are not told as a full disk."""
    with pytest.raises(PermissionError), published(target):
        raise PermissionError(errno.EACCES, "no")


def test_a_rename_that_fails_puts_the_old_folder_back(existing, monkeypatch):
    """The second of the two renames: the folder must not be gone between them."""
    monkeypatch.setattr(
        publishing.ctypes, "CDLL", lambda *a, **o: SimpleNamespace(renameat2=lambda *a: -1)
    )
    rename = Path.rename

    def failing(self, other):
        if other == existing and not self.name.endswith(".old"):
            raise OSError(errno.EIO, "the disk is tired")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", failing)
    before = tree(existing.parent)
    with pytest.raises(OSError, match="the disk is tired"), published(existing) as build:
        (build / "2").mkdir()

    assert before == tree(existing.parent)
    assert [existing] == list(existing.parent.iterdir())


def test_a_place_that_cannot_be_written_to(tmp_path):
    """A file stands where a folder is needed."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match=r"cannot be written to: .*choose another folder"):  # noqa: SIM117
        with published(tmp_path / "file" / "repository"):
            pass


def test_a_mount_point_is_refused(target, monkeypatch):
    """It cannot be renamed, which would only show when all the work is done."""
    monkeypatch.setattr(Path, "is_mount", lambda path: path == target)
    with pytest.raises(RepositoryError, match=r"is a mount point.*choose a folder inside it"):  # noqa: SIM117
        with published(target):
            pass

    assert not target.parent.exists()


def test_a_link_stays_a_link(existing, tmp_path):
    """The folder that it leads to is replaced."""
    link = tmp_path / "current"
    link.symlink_to(existing)
    with published(link) as build:
        (build / "new").write_text("new")

    assert link.is_symlink()
    assert "new" == (existing / "new").read_text()
    assert [existing] == list(existing.parent.iterdir())


def test_the_working_directory_can_be_published(existing, monkeypatch):
    """``--output .`` is a folder like any other."""
    monkeypatch.chdir(existing)
    with published(Path()) as build:
        (build / "new").write_text("new")

    assert "new" == (existing / "new").read_text()
    assert [existing] == list(existing.parent.iterdir())


def test_free_space_is_that_of_the_nearest_existing_folder(target, monkeypatch):
    """What is needed may be just as much as there is."""
    asked = []

    def disk_usage(path):
        asked.append(path)
        return SimpleNamespace(free=1000)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    check_free_space(target, 1000)
    with pytest.raises(DiskSpaceError, match=r"needs 0\.0 GiB, and its disk has 0\.0 GiB left"):
        check_free_space(target, 1001)

    assert [target.parent.parent] * 2 == asked
