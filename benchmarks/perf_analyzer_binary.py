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

import click

from bgem3_client.cache_folder import cache_folder
from bgem3_client.errors import BgeM3Error


class PerfAnalyzerError(BgeM3Error):
    """There is no ``perf_analyzer`` that can run here, or it failed."""


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
_PROGRAM = WheelFile(
    requirement="tritonclient==2.50.0",
    sha256="421fbb69ae6ab8cdb2c35b82134fcef2fe11e7af7718b1fcbc53335ab9bfe889",
    name="perf_analyzer",
)
# The program is linked with it, also where there is no GPU.
_CUDA_RUNTIME = WheelFile(
    requirement="nvidia-cuda-runtime-cu12==12.6.77",
    sha256="a84d15d5e1da416dd4774cb42edf5e954a3e60cc945698dc1d5be02321c44dc8",
    name="libcudart.so.12",
)


@dataclass(frozen=True)
class PerfAnalyzer:
    """A program that was seen to start.

    Attributes:
        origin: Where it was found, in words.
        library_directory: What the loader must search for it, if anything.
    """

    program: Path
    origin: str
    library_directory: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment that it runs in."""
        if self.library_directory is None:
            return dict(os.environ)
        inherited = os.environ.get("LD_LIBRARY_PATH")
        directories = [str(self.library_directory), *([inherited] if inherited else [])]
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(directories)}


def find_perf_analyzer(setting: Path | None = None) -> PerfAnalyzer:
    """Return the ``perf_analyzer`` to run, fetched into the user's cache when there is none.

    Args:
        setting: The program itself, when it is neither to be looked for nor fetched.

    Raises:
        PerfAnalyzerError: It cannot be fetched, or does not start; the message says what to do.
    """
    on_path = shutil.which("perf_analyzer")
    if setting is not None:
        found = PerfAnalyzer(setting.absolute(), str(setting))
    elif on_path is not None:
        found = PerfAnalyzer(Path(on_path), on_path)
    else:
        found = _fetched()
    _check_starts(found)
    return found


def _fetched() -> PerfAnalyzer:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise PerfAnalyzerError(
            "perf_analyzer can be fetched for Linux x86-64 only: run it in NVIDIA's SDK container "
            "(nvcr.io/nvidia/tritonserver:YY.MM-py3-sdk) against this server, or name one with "
            "--program"
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
    return PerfAnalyzer(directory / _PROGRAM.name, _PROGRAM.requirement, directory)


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
            raise PerfAnalyzerError(
                f"pip could not fetch {file.requirement}:\n{pip.stderr.strip()}\n"
                "Name a perf_analyzer of your own with --program, or put one on PATH"
            )
        (wheel,) = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (
                name for name in archive.namelist() if PurePosixPath(name).name == file.name
            )
            (directory / file.name).write_bytes(archive.read(member))


def _check_starts(found: PerfAnalyzer) -> None:
    """Run it once: a library it misses shows only then."""
    try:
        run = subprocess.run(
            [found.program, "--version"],
            env=found.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise PerfAnalyzerError(f"{found.program} cannot be run: {error.strerror}") from error
    # 127 is the dynamic loader's.
    if run.returncode == 127:
        missing = run.stderr.strip().rpartition("libraries: ")[2]
        advice = (
            "apt-get install libb64-0d"
            if missing.startswith("libb64.so")
            else "install the package that has it"
        )
        raise PerfAnalyzerError(f"perf_analyzer ({found.origin}) cannot start: {missing}; {advice}")
