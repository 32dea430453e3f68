"""Folders to index."""

from __future__ import annotations

from pathlib import Path

import pytest
from index_run import Notes


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """An empty folder, a store in memory, and a server that is faked."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return Notes(folder)
