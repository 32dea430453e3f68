"""A disk that runs full under a process."""

from __future__ import annotations

import subprocess
from pathlib import Path


class FullDisk:
    """The disk of one folder, for the processes that are started with :attr:`environment`."""

    def __init__(self, folder: Path, workshop: Path) -> None:
        """Compile what is preloaded into them.

        Args:
            folder: What lies on that disk.
            workshop: For what this makes; on another disk.
        """
        library, self._switch = workshop / "full_disk.so", workshop / "full_disk"
        source = Path(__file__).with_name("full_disk.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FULL_DISK": str(folder),
            "FULL_DISK_SWITCH": str(self._switch),
        }

    def fill(self) -> None:
        """Leave no room from now on."""
        self._switch.touch()

    def clear(self) -> None:
        """Have room again."""
        self._switch.unlink()
