"""The files of a model as they were exported: what has changed since is not served."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from bgem3_export.errors import RepositoryError
from bgem3_export.file_hash import file_sha256

_State: TypeAlias = tuple[int, int, int]


class ModelFiles:
    """Compares files with what is recorded of them, and again only those touched since."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._checked: dict[str, _State] = {}

    def check(self, files: Mapping[str, str]) -> None:
        """Compare files with what is recorded of them.

        Args:
            files: SHA-256 in hexadecimal by name in the repository: those that are to be served.

        Raises:
            RepositoryError: A file is missing, cannot be read, or is another than was exported.
        """
        for name, expected in files.items():
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
                    f"{path} is damaged or was changed: its SHA-256 is {found}, and was "
                    f"{expected}; export again, or copy the repository again "
                    "(--no-check-files serves it as it is)"
                )
            self._checked[name] = state
