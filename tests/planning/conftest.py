"""The demo model's repository without its weights: a plan reads the graphs and configurations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bgem3_backend.contract import TRUNK
from bgem3_export.manifest import MANIFEST_FILE, Manifest


@pytest.fixture(scope="session")
def demo_graph(demo_repository: Path) -> Path:
    """The demo model's graph for CPUs, with its weights."""
    newest = Manifest.read(demo_repository).newest
    return demo_repository / TRUNK.name / newest / "model.onnx"


@pytest.fixture
def planned(demo_repository: Path, tmp_path: Path) -> Path:
    """A repository of the test's own, without weights."""
    repository = tmp_path / "repository"
    trunk = repository / TRUNK.name
    newest = Manifest.read(demo_repository).newest
    shutil.copytree(
        demo_repository / TRUNK.name,
        trunk,
        ignore=lambda folder, names: [
            name
            for name in names
            if name.endswith(".data") or (name.isdecimal() and name != newest)
        ],
    )
    shutil.copy(demo_repository / MANIFEST_FILE, repository)
    return repository
