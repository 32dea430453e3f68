"""The model repository that is served: is it one, and what does it say about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bgem3_backend.contract import ENSEMBLE
from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import MANIFEST_FILE, Manifest

_HOW_TO_EXPORT: Final = "make one with 'bgem3 export MODEL --output DIR'"


def read_repository(directory: Path) -> Manifest | None:
    """Check that ``directory`` is a model repository and return its manifest.

    A repository without a manifest is served too, Triton needs none: it gives None.

    Raises:
        RepositoryError: There is no such directory, it holds no ``bge_m3``, or its manifest is
            damaged or of another format.
    """
    if not directory.is_dir():
        raise RepositoryError(f"{directory} is not a directory; {_HOW_TO_EXPORT}")
    if not (directory / ENSEMBLE.name / "config.pbtxt").is_file():
        raise RepositoryError(
            f"{directory} is not a model repository: it has no {ENSEMBLE.name}/config.pbtxt; "
            f"{_HOW_TO_EXPORT}"
        )
    return Manifest.read(directory) if (directory / MANIFEST_FILE).exists() else None
