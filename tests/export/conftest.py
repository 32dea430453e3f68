"""A tiny checkpoint, and the export of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny_checkpoint import write_tiny_checkpoint

from bgem3_export.checkpoint import Checkpoint
from bgem3_export.source import Source, find_source
from bgem3_export.trunk_graph import write_trunk_graph

# A busy machine is no reason to fail.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@dataclass
class RecordedProgress:
    """Remembers what an export told of its progress."""

    steps: list[str] = field(default_factory=list)
    parts: list[tuple[int, int]] = field(default_factory=list)

    def step(self, name: str, total: int) -> None:
        """Remember a step."""
        self.steps.append(name)

    def part(self, done: int, total: int) -> None:
        """Remember a part."""
        self.parts.append((done, total))


@pytest.fixture(scope="module")
def pytorch(tmp_path_factory):
    """The tiny trunk in transformers, and its checkpoint."""
    directory = tmp_path_factory.mktemp("tiny")
    return write_tiny_checkpoint(directory), Checkpoint(directory)


@pytest.fixture(scope="module", params=("fp32", "fp16"))
def precision(request) -> str:
    """Of the graph."""
    return request.param


@pytest.fixture(scope="module")
def directory(pytorch, precision, tmp_path_factory) -> Path:
    """The graphs of the tiny trunk."""
    directory = tmp_path_factory.mktemp(precision)
    write_trunk_graph(pytorch[1], directory, precision)
    return directory


@pytest.fixture
def progress() -> RecordedProgress:
    """A listener that remembers."""
    return RecordedProgress()


@pytest.fixture
def tiny_directory(tmp_path) -> Path:
    """A tiny checkpoint of the test's own, to spoil as it likes."""
    directory = tmp_path / "tiny-model"
    directory.mkdir()
    write_tiny_checkpoint(directory)
    return directory


@pytest.fixture
def tiny_source(tiny_directory) -> Source:
    """The tiny checkpoint as an export's source."""
    return find_source(str(tiny_directory))


@pytest.fixture
def tiny_checkpoint(tiny_directory) -> Checkpoint:
    """The tiny checkpoint, opened."""
    return Checkpoint(tiny_directory)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """A tiny model is no work for many: on a busy machine they only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
