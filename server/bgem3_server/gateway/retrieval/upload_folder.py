"""A folder for the files of one request, which is gone when nobody needs it any more."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

_PREFIX: Final = "bgem3-upload-"
# Between the making of a folder and its lock another process must not take it for left behind.
_YOUNG_SECONDS: Final = 60.0


class UploadFolder:
    """A new folder among the system's temporary ones, that only this user may read.

    It is locked as long as its process lives, so that :func:`remove_left_behind` can tell what a
    killed process has left.

    Attributes:
        path: Where it is.
    """

    def __init__(self) -> None:
        """Make it.

        Raises:
            OSError: It cannot be made.
        """
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock: int | None = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it and what is in it. Again: nothing."""
        if self._lock is None:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = None


def remove_left_behind() -> int:
    """Remove the folders of processes that were killed, and return how many there were."""
    count = 0
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or gone by now
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # in use
        else:
            shutil.rmtree(path, ignore_errors=True)
            count += not path.exists()
        finally:
            os.close(lock)
    return count
