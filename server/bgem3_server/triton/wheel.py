"""The ``tritonserver`` inside the ``nvidia-pytriton`` wheel, made usable without PyTriton."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
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


def assemble_backends(contents: WheelContents) -> Path:
    """Return a backend directory with the Python backend for this version of Python.

    The wheel keeps the stubs of all versions of Python elsewhere; Triton wants the one to use
    beside the backend. The directory is made once, in the user's cache.

    Raises:
        InstallationError: The wheel has no stub for this version of Python.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = contents.root / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise InstallationError(
            f"{DISTRIBUTION} {contents.version} cannot run models in Python {python}; it has "
            + ", ".join(sorted(path.name for path in stub.parent.parent.iterdir()))
        )
    directory = cache_folder() / f"triton-backends-{contents.version}-python{python}"
    if directory.is_dir():
        return directory
    backend = contents.root / "backends" / "python"
    building = directory.with_name(f"{directory.name}.{uuid4().hex[:8]}")
    try:
        (building / "python").mkdir(parents=True)
        for source in (
            backend / "libtriton_python.so",
            backend / "triton_python_backend_utils.py",
            stub,
        ):
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
