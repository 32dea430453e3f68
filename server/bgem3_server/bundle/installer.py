"""Installs the bundle that this file lies in: checks it and the machine, then needs no network.

    sh install.sh [--models FOLDER] FOLDER

It goes with every bundle, as install.py, and uses nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

FORMAT_VERSION = 1

DESCRIPTION_FILE = "bundle.json"
REQUIREMENTS_FILE = "requirements.txt"
SUMS_FILE = "SHA256SUMS"
WHEELS_FOLDER = "wheels"
MODEL_FOLDER = "model_repository"

# In a folder that is being filled; what is found in one was left behind by an installation that was
# killed, and may go.
_UNFINISHED = ".bgem3-installing"

_SHOWN_FILES = 10


class InstallError(Exception):
    """Why nothing was installed: what is wrong with what, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, and return the exit status: 0, or 1 when nothing was installed."""
    parser = argparse.ArgumentParser(
        prog="sh install.sh",
        description="Installs bgem3 and the bundle's model. No network is used.",
    )
    parser.add_argument("folder", type=Path, help="where to: a new or an empty folder")
    parser.add_argument(
        "--models", type=Path, help="where the model's folder goes (default: FOLDER/models)"
    )
    parser.add_argument(
        "--check", action="store_true", help="check bundle and machine, and install nothing"
    )
    options = parser.parse_args(arguments)
    bundle = Path(__file__).resolve().parent
    try:
        install(bundle, options.folder.absolute(), options.models, check_only=options.check)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing is installed", file=sys.stderr)
        return 1
    return 0


def install(bundle: Path, folder: Path, models: Path | None, *, check_only: bool) -> None:
    """Check a bundle and this machine, and install it.

    Args:
        bundle: The folder of the bundle.
        folder: Becomes the environment; new, empty, or left behind by one that was killed.
        models: Where the model's folder goes; None for within ``folder``.
        check_only: Stop after the checks.

    Raises:
        InstallError: Nothing was installed.
    """
    print("checking the bundle")
    verify_bundle(bundle)
    description = read_description(bundle)
    check_machine(description)
    repository = (models.absolute() if models else folder / "models") / description["model"]["name"]
    if folder.exists() and not _may_be_filled(folder):
        raise InstallError(f"{folder} is not empty: name a new folder, or remove it")
    if repository.exists() and folder not in repository.parents:
        raise InstallError(f"{repository} is there already: remove it, or give other --models")
    check_room(folder, description["installed_bytes"])
    if check_only:
        print("bundle and machine are fit for each other; nothing was installed")
        return
    with _filling(folder, repository):
        print(f"installing into {folder}")
        _install_packages(bundle, folder)
        print(f"copying the model to {repository}")
        shutil.copytree(bundle / MODEL_FOLDER, repository)
        for empty in description["model"]["empty_folders"]:
            # Triton wants them, and not everything that carries files over carries them.
            (repository / empty).mkdir(exist_ok=True)
        _try(folder)
    if description["model"]["demo"]:
        print("demo model: not BGE-M3")
    start = (
        f"serve {repository}"
        if "backend" in description["extras"]
        else f"gateway --tokenizer {repository} --triton HOST:PORT"
    )
    print(f"ready. Start it:\n  {folder}/bin/bgem3 {start}")


def verify_bundle(bundle: Path) -> None:
    """Hold every file of a bundle against its checksum.

    Raises:
        InstallError: Files are missing, changed, unlisted or no plain files, or it is unfinished.
    """
    try:
        sums = (bundle / SUMS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InstallError(
            f"{bundle} has no {SUMS_FILE}, which is written last: the bundle was not finished, or "
            "not copied to its end"
        ) from None
    listed = {path: sha256 for sha256, _, path in (s.partition("  ") for s in sums.splitlines())}
    plain, odd = _files(bundle)
    plain.discard(SUMS_FILE)
    found = plain & listed.keys()
    changed = [path for path in sorted(found) if _sha256(bundle / path) != listed[path]]
    problems = [
        *_listing("missing", sorted(listed.keys() - plain - odd)),
        *_listing("changed", changed),
        *_listing("in no list of this bundle", sorted(plain - listed.keys())),
        *_listing("neither file nor folder", sorted(odd)),
    ]
    if problems:
        raise InstallError(
            "\n  ".join([f"{bundle} is not what was made; copy it again:", *problems])
        )


def read_description(bundle: Path) -> dict[str, Any]:
    """Return what a bundle says about itself.

    Raises:
        InstallError: Another release has made it.
    """
    description: dict[str, Any] = json.loads((bundle / DESCRIPTION_FILE).read_text("utf-8"))
    if description["format_version"] != FORMAT_VERSION:
        raise InstallError(
            f"{bundle} has format {description['format_version']}: it needs its own install.sh"
        )
    return description


def check_machine(description: dict[str, Any]) -> None:
    """Refuse a machine that the bundle's packages do not run on.

    Raises:
        InstallError: It has another Python, processor or C library, or Python lacks a part.
    """
    needed = description["python"]
    here = ".".join(map(str, sys.version_info[:2]))
    if here != needed:
        raise InstallError(
            f"the bundle is for Python {needed}, and {sys.executable} is "
            f"{platform.python_version()}: name another with "
            f"PYTHON=/path/to/python{needed} sh install.sh, or bundle with "
            f"--python python{here}"
        )
    if (platform.system(), platform.machine()) != ("Linux", description["machine"]):
        raise InstallError(
            f"the bundle is for Linux on {description['machine']}, and this is "
            f"{platform.system()} on {platform.machine()}"
        )
    library, version = platform.libc_ver()
    if library != "glibc" or _numbers(version) < _numbers(description["glibc"]):
        raise InstallError(
            f"the bundle needs glibc {description['glibc']} or later, and this machine has "
            f"{library or 'another C library'} {version}: a newer release of the system is needed"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise InstallError(
            f"{sys.executable} cannot make environments; on Debian and Ubuntu: "
            f"apt-get install python{needed}-venv"
        )
    if "backend" in description["extras"]:
        _check_shared_library(needed)


def check_room(folder: Path, needed_bytes: int) -> None:
    """Refuse early what would fill the disk.

    Raises:
        InstallError: There is less room than what is to be installed.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise InstallError(
            f"{folder} needs {needed_bytes / 2**30:.1f} GiB, and its disk has {free / 2**30:.1f} "
            "GiB left"
        )


def _check_shared_library(needed: str) -> None:
    """Triton runs Python models in a program that is linked with Python's own library."""
    name = f"libpython{needed}.so.1.0"
    for place in (Path(sysconfig.get_config_var("LIBDIR") or "/") / name, Path(name)):
        try:
            ctypes.CDLL(str(place))
        except OSError:
            continue
        return
    raise InstallError(
        f"Triton needs {name}, and it is not on this machine; on Debian and Ubuntu: "
        f"apt-get install libpython{needed}"
    )


def _may_be_filled(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or _UNFINISHED in names


@contextmanager
def _filling(folder: Path, repository: Path) -> Iterator[None]:
    """Leave the folders complete, or empty."""
    existed = folder.exists()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _empty(folder)
        (folder / _UNFINISHED).touch()
        yield
        (folder / _UNFINISHED).unlink()
    except BaseException as error:
        shutil.rmtree(repository, ignore_errors=True)
        if folder.is_dir():
            _empty(folder)
            if not existed:
                folder.rmdir()
        if isinstance(error, OSError):
            # copytree tells what failed, and why, for every file.
            reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
            raise InstallError(f"{reason}; nothing is installed") from error
        raise


def _empty(folder: Path) -> None:
    # What marks it goes last: it would not be known for ours without.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == _UNFINISHED):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _install_packages(bundle: Path, folder: Path) -> None:
    venv.EnvBuilder(with_pip=True, symlinks=True).create(folder)
    # Settings of this machine could name an index, or other versions.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    _run(
        [
            *(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--no-cache-dir", "--no-index"),
            *("--find-links", str(bundle / WHEELS_FOLDER)),
            *("--require-hashes", "--requirement", str(bundle / REQUIREMENTS_FILE)),
        ],
        {**clean, "PIP_CONFIG_FILE": os.devnull},
    )


def _try(folder: Path) -> None:
    _run([str(folder / "bin" / "bgem3"), "--version"], dict(os.environ))


def _run(command: list[str], environment: dict[str, str]) -> None:
    run = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        raise InstallError(
            f"{' '.join(command[:4])} … ended with {run.returncode}; nothing is installed:\n"
            f"{run.stdout}"
        )


def _files(bundle: Path) -> tuple[set[str], set[str]]:
    """Return the plain files of a folder, and what is neither file nor folder."""
    plain, odd = set(), set()
    for directory, folders, files in os.walk(bundle):
        for name in (*folders, *files):
            path = Path(directory, name)
            relative = path.relative_to(bundle).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                odd.add(relative)
            elif path.is_file():
                plain.add(relative)
    return plain, odd


def _listing(what: str, paths: list[str]) -> Iterator[str]:
    for path in paths[:_SHOWN_FILES]:
        yield f"{what}: {path}"
    if len(paths) > _SHOWN_FILES:
        yield f"{what}: {len(paths) - _SHOWN_FILES} more"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    sys.exit(main())
