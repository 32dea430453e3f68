"""Where embeddings are written to: JSON lines, NumPy's NPZ, Parquet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from bgem3_retrieval.bulk.parquet_library import parquet_library
from bgem3_retrieval.bulk.writers.base import OutputFormat, Writer, WriterMaker

__all__ = ["FORMAT_OF_SUFFIX", "OutputFormat", "Writer", "WriterMaker", "format_of", "writer_maker"]

FORMAT_OF_SUFFIX: Final[dict[str, OutputFormat]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".npz": "npz",
    ".parquet": "parquet",
}


def format_of(path: Path) -> OutputFormat | None:
    """Return the format that the file's name stands for; None when it stands for none."""
    return FORMAT_OF_SUFFIX.get(path.suffix.lower())


def writer_maker(output_format: OutputFormat, scratch_folder: Path) -> WriterMaker:
    """Return what makes a writer of that format; only its library is imported.

    Args:
        output_format: One of three.
        scratch_folder: Where a writer may keep temporary files, as large as its output.

    Raises:
        MissingLibraryError: The format needs a library that is not installed.
    """
    match output_format:
        case "jsonl":
            from bgem3_retrieval.bulk.writers.jsonl import JsonlWriter

            return JsonlWriter
        case "npz":
            from bgem3_retrieval.bulk.writers.npz import NpzWriter

            return partial(NpzWriter, scratch_folder=scratch_folder)
        case "parquet":
            with parquet_library():
                from bgem3_retrieval.bulk.writers.parquet import ParquetWriter
            return ParquetWriter
