"""The file that tells scripts that a server is ready, and where."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class ReadyFile:
    """A file that is there while a server is in service; None keeps no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> Self:
        if self._path:
            # What an earlier server left behind would be taken for this one's.
            self._path.unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._path:
            self._path.unlink(missing_ok=True)

    def write(self, content: Mapping[str, object]) -> None:
        """Write the content as JSON; whoever sees the file sees all of it."""
        if self._path is None:
            return
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        partial.replace(self._path)
