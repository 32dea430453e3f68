"""A file that every case writes anew, in memory where the system has such a folder."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")


def temporary_folder() -> Path:
    """Return a new folder that is gone when this process ends in order."""
    folder = Path(tempfile.mkdtemp(prefix="bgem3-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
