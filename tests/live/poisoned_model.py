"""A tiny model that gives NaN for texts with one certain character."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file
from tiny_checkpoint import tiny_tokenizer, write_tiny_checkpoint

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_export.export import export_checkpoint
from bgem3_export.source import find_source

POISON: Final = "<"
"""Its embedding is out of all proportion; the export's own texts do not have it."""


class _NoProgress:
    def step(self, name: str, total: int) -> None:
        """Tell nobody."""

    def part(self, done: int, total: int) -> None:
        """Tell nobody."""


def write_poisoned_repository(directory: Path) -> Path:
    """Write a checkpoint into a folder, export it there, and return the repository."""
    checkpoint = directory / "checkpoint"
    checkpoint.mkdir()
    write_tiny_checkpoint(checkpoint, positions=MAX_POSITIONS_TOKENS + 2)
    weights = load_file(checkpoint / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][tiny_tokenizer().token_to_id(POISON)] = 3e38
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    repository = directory / "repository"
    export_checkpoint(find_source(str(checkpoint)), repository, "fp32", "cpu", _NoProgress())
    return repository
