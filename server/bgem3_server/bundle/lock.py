"""The versions that this release was tested with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILE: Final = "constraints.txt"


def lock_file() -> Path:
    """Return the file of constraints: inside the installed package, or in a checkout."""
    installed = Path(__file__).parent / _FILE
    return installed if installed.is_file() else Path(__file__).parents[3] / _FILE
