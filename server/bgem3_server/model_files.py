"""The files of a model as they were exported: what has changed since is not served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from bgem3_export.errors import RepositoryError
from bgem3_export.file_hash import file_sha256
from bgem3_export.manifest import Manifest

_State: TypeAlias = tuple[int, int, int]


class ModelFiles:
    """Compares files with the manifest; those that have not been touched since, only once."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._checked: dict[str, _State] = {}

    def check(self, manifest: Manifest, version: str) -> None:
        """Compare the files of one version with the manifest.

        Args:
            manifest: Of the repository.
            version: The version that is to be served.

        Raises:
            RepositoryError: A file is missing, cannot be read, or is another than was exported.
        """
        for name, expected in manifest.versions[version].files.items():
            path = self._repository / name
            try:
                status = path.stat()
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._checked.get(name) == state:
                    continue
                found = file_sha256(path)
            except OSError as error:
                raise RepositoryError(
                    f"{path} cannot be read ({os.strerror(error.errno or 0)}): export again, or "
                    "copy the whole repository again"
                ) from error
            if found != expected:
                raise RepositoryError(
                    f"{path} is damaged or was changed: its SHA-256 is {found}, and the manifest "
                    f"says {expected}; export again, or copy the repository again "
                    "(--no-check-files serves it as it is)"
                )
            self._checked[name] = state
