"""What every writer does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Literal, Protocol, TypeAlias

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.model_info import ModelInfo

OutputFormat: TypeAlias = Literal["jsonl", "npz", "parquet"]


class Writer(Protocol):
    """Writes embeddings as they come."""

    def write(self, ids: Sequence[str], embeddings: Embeddings) -> None:
        """Add N texts' representations under their N ids."""

    def finish(self) -> None:
        """Write what is still held back: the output is complete."""

    def close(self) -> None:
        """Let go of all but the stream, which is the caller's; without `finish`, for nothing."""


class WriterMaker(Protocol):
    """Makes a writer of one format."""

    def __call__(self, stream: BinaryIO, options: EncodeOptions, model: ModelInfo) -> Writer:
        """Return a writer to ``stream`` of what ``options`` ask for, in the model's sizes."""
