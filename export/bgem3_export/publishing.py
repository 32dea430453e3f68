"""Making a folder appear complete or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from bgem3_export.errors import DiskSpaceError, RepositoryError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a disk, or a user's share of it, that is full."""


@contextmanager
def exclusive(directory: Path, work: str = "export") -> Iterator[None]:
    """Hold the right to publish ``directory``, which one process has at a time.

    What an earlier one left behind, killed before it could publish, is removed.

    Args:
        directory: What is to be published.
        work: What is done, for the message.

    Raises:
        RepositoryError: Somebody else is at it, or the place cannot be written to.
    """
    directory = directory.resolve()
    lock = FileLock(directory.parent / f".{directory.name}.lock")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RepositoryError(
            f"another {work} into {directory} is at work: wait for it, or choose another folder"
        ) from error
    except OSError as error:
        raise _not_writable(directory.parent, error) from error
    try:
        for left_behind in directory.parent.glob(f".{directory.name}.build-*"):
            shutil.rmtree(left_behind)
        yield
    finally:
        lock.release()


@contextmanager
def published(directory: Path) -> Iterator[Path]:
    """Give a folder to build in, which becomes ``directory`` when the block ends well.

    The build folder lies beside ``directory`` and begins as a copy of it, its files linked rather
    than copied. When the block raises, the build folder goes and ``directory`` is as it was.

    Raises:
        DiskSpaceError: The disk filled up.
        RepositoryError: The place cannot be written to.
    """
    # A link, "." and ".." stay what they are: the folder that they lead to is replaced.
    directory = directory.resolve()
    if directory.is_mount():
        raise RepositoryError(
            f"{directory} is a mount point, which cannot be replaced in one step; choose a folder "
            "inside it"
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        build = Path(tempfile.mkdtemp(prefix=f".{directory.name}.build-", dir=directory.parent))
    except OSError as error:
        raise _not_writable(directory.parent, error) from error
    try:
        # mkdtemp makes it private; Triton may run as another user.
        build.chmod(0o755)
        if directory.exists():
            shutil.copytree(directory, build, copy_function=_link, dirs_exist_ok=True)
        yield build
        if directory.exists():
            _exchange(build, directory)
        else:
            build.rename(directory)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DiskSpaceError(
                f"the disk of {directory.parent} is full; make room, or choose a folder on "
                "another disk. Nothing was published"
            ) from error
        raise
    finally:
        shutil.rmtree(build, ignore_errors=True)


def check_free_space(directory: Path, needed_bytes: int) -> None:
    """Refuse early what would fill the disk.

    Args:
        directory: Where it is to be; its nearest existing parent is asked.
        needed_bytes: What is to be written.

    Raises:
        DiskSpaceError: There is less room than that.
    """
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise DiskSpaceError(
            f"{directory} needs {needed_bytes / 2**30:.1f} GiB, and its disk has "
            f"{free / 2**30:.1f} GiB left; make room, or choose a folder on another disk"
        )


def _not_writable(place: Path, error: OSError) -> RepositoryError:
    return RepositoryError(f"{place} cannot be written to: {error.strerror}; choose another folder")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no hard links; a copy is as good.
        shutil.copy2(source, target)


def _exchange(first: Path, second: Path) -> None:
    """Swap two folders, in one step where the kernel and the file system can."""
    result = ctypes.CDLL(None, use_errno=True).renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    if result == 0:
        return
    # Network file systems know no exchange: two renames, with a moment between them.
    aside = first.with_name(first.name + ".old")
    second.rename(aside)
    try:
        first.rename(second)
    except OSError:
        aside.rename(second)
        raise
    aside.rename(first)
