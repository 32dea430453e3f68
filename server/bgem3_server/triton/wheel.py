"""The ``tritonserver`` inside the ``nvidia-pytriton`` wheel, made usable without PyTriton."""

from __future__ import annotations

import filecmp
import importlib.util
import shutil
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from bgem3_client.cache_folder import cache_folder
from bgem3_server.errors import InstallationError

DISTRIBUTION = "nvidia-pytriton"


@dataclass(frozen=True)
class WheelContents:
    """Where the wheel was unpacked.

    Attributes:
        root: Holds ``bin/``, ``backends/``, ``caches/`` and ``python_backend_stubs/``.
        libraries: The shared libraries that its programs are linked with.
    """

    version: str
    root: Path
    libraries: Path


def find_wheel() -> WheelContents | None:
    """Return where the wheel is installed, without importing it; None when it is not."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    return WheelContents(
        version=metadata.version(DISTRIBUTION),
        root=package / "tritonserver",
        libraries=package.parent / "nvidia_pytriton.libs",
    )


def backend_directory(contents: WheelContents, cache: Path | None = None) -> Path:
    """Return where :func:`assemble_backends` makes its directory, or has made it."""
    name = f"triton-backends-{contents.version}-python{_python_version()}"
    return (cache or cache_folder()) / name


def assemble_backends(contents: WheelContents, cache: Path | None = None) -> Path:
    """Return a backend directory with the Python backend for this version of Python.

    The wheel keeps the stubs of all versions of Python elsewhere; Triton wants the one to use
    beside the backend. The directory is made once, in the user's cache, and anew when a file in it
    is no longer the wheel's.

    Args:
        contents: Of the wheel.
        cache: Another place than the user's cache.

    Raises:
        InstallationError: The wheel has no stub for this version of Python.
    """
    python = _python_version()
    stub = contents.root / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise InstallationError(
            f"{DISTRIBUTION} {contents.version} cannot run models in Python {python}; it has "
            + ", ".join(sorted(path.name for path in stub.parent.parent.iterdir()))
        )
    directory = backend_directory(contents, cache)
    backend = contents.root / "backends" / "python"
    sources = (backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub)
    building = directory.with_name(f"{directory.name}.{uuid4().hex[:8]}")
    if directory.is_dir():
        if _is_whole(directory / "python", sources):
            return directory
        damaged = building.with_suffix(".damaged")
        with suppress(FileNotFoundError):  # another process was quicker
            directory.rename(damaged)
            shutil.rmtree(damaged)
    try:
        (building / "python").mkdir(parents=True)
        for source in sources:
            shutil.copy(source, building / "python")
        (building / "python" / stub.name).chmod(0o755)
        try:
            building.rename(directory)
        except OSError:
            # Another process was quicker; its directory is the same.
            if not directory.is_dir():
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return directory


def python_library_directories() -> tuple[Path, ...]:
    """Return where this Python's own shared library is, if it has one.

    The stub is linked with it. Without this the loader would take the system's, of another
    patch version than the standard library that the models import.
    """
    directory = sysconfig.get_config_var("LIBDIR")
    name = sysconfig.get_config_var("INSTSONAME")
    if directory and name and (Path(directory) / name).is_file() and ".so" in name:
        return (Path(directory),)
    return ()


def _is_whole(directory: Path, sources: tuple[Path, ...]) -> bool:
    copies = [directory / source.name for source in sources]
    return all(copy.is_file() for copy in copies) and all(
        filecmp.cmp(source, copy, shallow=False)
        for source, copy in zip(sources, copies, strict=True)
    )


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
