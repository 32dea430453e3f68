"""A small tokenizer and a small trunk for the tests of the Python backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from tiny_checkpoint import tiny_tokenizer, write_tiny_checkpoint

from bgem3_export.checkpoint import Checkpoint
from bgem3_export.trunk_graph import write_trunk_graph

# A busy machine is no reason to fail.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def tiny_tokenizer_file(tmp_path_factory) -> Path:
    """The ``tokenizer.json`` of the tiny checkpoint."""
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tiny_tokenizer().save(str(file))
    return file


@pytest.fixture(scope="session")
def tiny_graph(tmp_path_factory) -> Path:
    """The tiny checkpoint's trunk as an FP32 graph."""
    directory = tmp_path_factory.mktemp("tiny-graph")
    write_tiny_checkpoint(directory)
    return write_trunk_graph(Checkpoint(directory), directory, "fp32")
