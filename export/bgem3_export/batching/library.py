"""Where Triton finds the batching strategy of a model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from uuid import uuid4

from bgem3_backend.contract import TRUNK
from bgem3_export.batching.build import LIBRARY_FILE, build_library
from bgem3_export.errors import RepositoryError


def install_library(repository: Path) -> Path:
    """Compile the library and put it beside the trunk's configuration.

    Triton looks there by itself, so no configuration changes, and the library stays when another
    version is exported.

    Args:
        repository: What ``bgem3 export`` has written.

    Returns:
        Where the library is now.

    Raises:
        RepositoryError: It is no such repository, or cannot be written to.
        CompilerError: There is no compiler, or it fails.
    """
    trunk = repository / TRUNK.name
    if not (trunk / "config.pbtxt").is_file():
        raise RepositoryError(
            f"{repository} is not a model repository: it has no {TRUNK.name}/config.pbtxt; make "
            "one with 'bgem3 export MODEL --output DIR'"
        )
    try:
        return copy_library(trunk)
    except OSError as error:
        raise RepositoryError(
            f"{trunk} cannot be written to: {error.strerror}; 'bgem3 build-batcher --output DIR' "
            f"writes {LIBRARY_FILE} elsewhere"
        ) from error


def copy_library(folder: Path) -> Path:
    """Compile the library, put it into an existing folder, and return its path there.

    Raises:
        CompilerError: There is no compiler, or it fails.
        OSError: The folder cannot be written to.
    """
    target = folder / LIBRARY_FILE
    # A new file, not new content: a running Triton has the old one mapped.
    copied = target.with_name(f".{LIBRARY_FILE}.{uuid4().hex[:8]}")
    try:
        shutil.copyfile(build_library(), copied)
        copied.chmod(0o755)
        os.replace(copied, target)
    finally:
        copied.unlink(missing_ok=True)
    return target


def find_library(repository: Path, version: str, backend: Path) -> Path | None:
    """Return the strategy that Triton will load for the trunk, None when it will find none.

    Searched as Triton does: the folder of the version, of the model, of the backend.

    Args:
        repository: The model repository.
        version: The version of the trunk that is served.
        backend: The folder of the trunk's backend.
    """
    trunk = repository / TRUNK.name
    for folder in (trunk / version, trunk, backend):
        if (folder / LIBRARY_FILE).is_file():
            return folder / LIBRARY_FILE
    return None
