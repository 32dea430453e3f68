"""Two exports of one shape whose vectors differ, and a live Triton that serves the first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import live_triton
from tiny_checkpoint import HIDDEN_SIZE, write_tiny_checkpoint

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_export.export import export_checkpoint
from bgem3_export.source import find_source
from bgem3_server.triton.addresses import Addresses


class _NoProgress:
    def step(self, name: str, total: int) -> None:
        """Tell nobody."""

    def part(self, done: int, total: int) -> None:
        """Tell nobody."""


def _export(directory: Path, seed: int, hidden_size: int = HIDDEN_SIZE) -> Path:
    checkpoint = directory / f"checkpoint-{seed}"
    checkpoint.mkdir()
    write_tiny_checkpoint(
        checkpoint, seed=seed, positions=MAX_POSITIONS_TOKENS + 2, hidden_size=hidden_size
    )
    repository = directory / f"export-{seed}"
    export_checkpoint(find_source(str(checkpoint)), repository, "fp32", "cpu", _NoProgress())
    return repository


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of one shape: trunks and heads of unlike random weights."""
    directory = tmp_path_factory.mktemp("exports")
    return _export(directory, 0), _export(directory, 1)


@pytest.fixture
def wider_export(tmp_path: Path) -> Path:
    """A model with dense vectors of twice the size."""
    return _export(tmp_path, 2, 2 * HIDDEN_SIZE)


@pytest.fixture
def repository(exports: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first, to serve and to change."""
    return Path(shutil.copytree(exports[0], tmp_path / "served"))


@pytest.fixture(scope="module")
def served(
    exports: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Addresses]]:
    """A copy of the first in a live Triton; the tests of a file change it one after the other."""
    repository = Path(shutil.copytree(exports[0], tmp_path_factory.mktemp("live") / "served"))
    with live_triton(repository) as addresses:
        yield repository, addresses
