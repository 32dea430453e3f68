"""A repository, and an environment without this machine's own settings."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor_run import write_repository

_OF_THE_USER = ("BGEM3_", "HF_", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "grpc_proxy")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what the machine that tests run on has set."""
    for name in list(os.environ):
        if name.lower().startswith(tuple(prefix.lower() for prefix in _OF_THE_USER)):
            monkeypatch.delenv(name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository whose files are those of its manifest."""
    return write_repository(tmp_path / "repository")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can get to, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="bgem3-doctor-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
