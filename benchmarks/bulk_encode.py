"""What ``bgem3 encode`` costs by itself: rows a second and memory, with the trunk left out.

The server is a transport that answers at once with slices of one array: what is measured is
reading, sorting, cutting into requests, putting in order, writing, hashing. Each size of corpus is
encoded by a process of its own, whose peak of memory the kernel tells.

Ends with 1 when memory grows by more than half from the smallest corpus to the largest.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import bgem3_retrieval.bulk.command as command
from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    DENSE,
    FULL_TOKEN_LENGTHS,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_LENGTHS,
)
from bgem3_bench.machine import this_machine
from bgem3_bench.process_memory import process_memory
from bgem3_bench.reports import markdown_table, output_directory, write_json
from bgem3_client import AsyncClient, Limits
from bgem3_client.transports import InferRequest, InferResponse, ModelMetadata
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint

# A small corpus does not fill what is held in memory; one that were held would be ten times this.
_GROWTH_LIMIT = 1.5
_DIMENSIONS = 1024
_BYTES_PER_TOKEN = 4
_LARGEST_REQUEST_TOKENS = 16_384


class InstantTransport:
    """Answers at once; a text has a token for each four bytes, and a sparse weight for each."""

    def __init__(self) -> None:
        random_numbers = np.random.default_rng(0)
        vectors = random_numbers.standard_normal((4096, _DIMENSIONS), np.float32)
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors_fp16 = self._vectors.astype(np.float16)
        self._indices = random_numbers.integers(4, 250_000, _LARGEST_REQUEST_TOKENS, np.int32)
        self._values = random_numbers.random(_LARGEST_REQUEST_TOKENS, np.float32) + 0.1

    async def infer(self, request: InferRequest) -> InferResponse:
        """See :class:`bgem3_client.transports.Transport`."""
        lengths = np.array(
            [len(text) // _BYTES_PER_TOKEN + 2 for text in request.texts], dtype=np.int32
        )
        entries = lengths - 2
        rows = np.arange(int(lengths.sum() - len(lengths))) % len(self._vectors)
        wanted = {tensor.name for tensor in request.outputs}
        tensors: dict[str, Any] = {
            TOKEN_LENGTHS.name: lengths,
            FULL_TOKEN_LENGTHS.name: lengths,
            DENSE.name: self._vectors[: len(lengths)],
            SPARSE_INDICES.name: self._indices[: int(entries.sum())],
            SPARSE_VALUES.name: self._values[: int(entries.sum())],
            SPARSE_LENGTHS.name: entries,
        }
        for tensor, vectors in ((COLBERT, self._vectors), (COLBERT_FP16, self._vectors_fp16)):
            if tensor.name in wanted:
                tensors[tensor.name] = vectors[rows]
        return InferResponse(
            {name: tensors[name][np.newaxis].copy() for name in wanted},
            request.model_version or "1",
        )

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """See :class:`bgem3_client.transports.Transport`."""
        shape = (-1, -1, _DIMENSIONS)
        return ModelMetadata(model, ("1",), {DENSE.name: shape, COLBERT.name: shape})

    async def close(self) -> None:
        """See :class:`bgem3_client.transports.Transport`."""


@dataclass(frozen=True)
class Measurement:
    """One corpus, encoded."""

    rows: int
    outputs: str
    source: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    written_bytes: int

    @property
    def rows_per_second(self) -> float:
        """Start of the process left out."""
        return self.rows / self.seconds


def encode_here(arguments: Sequence[str]) -> None:
    """Encode in this process, and print seconds and the peak of memory as JSON."""
    Endpoint.connect = _connect  # type: ignore[method-assign, assignment]
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        command.encode(list(arguments), standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise
    seconds = time.perf_counter() - started
    cpu_seconds = time.process_time() - cpu_started
    memory = process_memory(os.getpid())
    click.echo(
        json.dumps(
            {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": memory.peak_bytes}
        )
    )


def _connect(url: str, limits: Limits) -> Endpoint:
    return Endpoint(url, AsyncClient(transport=InstantTransport(), limits=limits))


def measure(rows: int, outputs: str, source: str, folder: Path) -> Measurement:
    """Write a corpus of short rows and let a process of its own encode it."""
    name = write_corpus(rows, source, folder)
    out = folder / "out"
    finished = subprocess.run(
        [
            *(sys.executable, __file__, "--here", str(name), "-o", f"{out}/"),
            *("--outputs", outputs, "--colbert-dtype", "float16"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    if finished.returncode:
        raise click.ClickException(f"the command ended with {finished.returncode}")
    found = json.loads(finished.stdout.splitlines()[-1])
    written = sum(path.stat().st_size for path in out.iterdir())
    shutil.rmtree(out)
    name.unlink()
    return Measurement(rows, outputs, source, **found, written_bytes=written)


def write_corpus(rows: int, source: str, folder: Path) -> Path:
    """Write short rows, 20 to 120 bytes each, a part at a time."""
    words = ["payment", "reset", "the", "account", "of", "a", "如何", "password", "invoice", "to"]
    generator = random.Random(7)
    path = folder / f"corpus.{source}"

    def texts(first: int, count: int) -> list[str]:
        return [
            f"{i} " + " ".join(generator.choices(words, k=generator.randint(3, 18)))
            for i in range(first, first + count)
        ]

    if source == "jsonl":
        with path.open("w", encoding="utf-8") as stream:
            for number, text in enumerate(texts(0, rows)):
                stream.write(json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n")
        return path
    schema = pa.schema({"id": pa.int64(), "text": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, 100_000):
            count = min(100_000, rows - first)
            ids = pa.array(range(first, first + count))
            writer.write_table(pa.table([ids, texts(first, count)], schema=schema))
    return path


@click.command()
@click.option("--rows", default="10000,100000", show_default=True, help="Sizes of corpora.")
@click.option("--outputs", multiple=True, default=["dense", "dense,sparse"], show_default=True)
@click.option("--source", type=click.Choice(["parquet", "jsonl"]), default="parquet")
@click.option("--folder", type=click.Path(path_type=Path), help="Where there is room.")
def main(rows: str, outputs: tuple[str, ...], source: str, folder: Path | None) -> None:
    """Measure bgem3 encode without a trunk."""
    sizes = [int(size) for size in rows.split(",")]
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for names in outputs:
            found += [measure(size, names, source, Path(scratch)) for size in sizes]
    click.echo(f"{this_machine()}\n")
    click.echo(
        markdown_table(
            ["rows", "outputs", "rows/s", "rows/CPU s", "MB/s written", "peak memory MB"],
            [
                [
                    f"{m.rows:,}",
                    m.outputs,
                    f"{m.rows_per_second:,.0f}",
                    f"{m.rows / m.cpu_seconds:,.0f}",
                    f"{m.written_bytes / m.seconds / 1e6:,.0f}",
                    f"{m.peak_bytes / 1e6:,.0f}",
                ]
                for m in found
            ],
        )
    )
    write_json(output_directory() / "bulk_encode.json", {"results": [asdict(m) for m in found]})
    for names in outputs:
        peaks = [m.peak_bytes for m in found if m.outputs == names]
        if peaks[-1] > _GROWTH_LIMIT * peaks[0]:
            click.echo(f"memory grows: {names}")
            sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        encode_here(sys.argv[2:])
    else:
        main()
