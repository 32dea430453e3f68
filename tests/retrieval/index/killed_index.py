"""A folder that is indexed, is changed, and is indexed again by runs that are disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from index_run import words
from numpy.typing import NDArray
from qdrant_client.client_base import QdrantBase
from qdrant_client.local.qdrant_local import QdrantLocal

from bgem3_client import Client, FakeTransport
from bgem3_retrieval.index import encoding
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.indexer import Indexer
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.qdrant.vectors import COLBERT, DENSE, SPARSE

COLLECTION = "notes"
DELAY_SECONDS = 0.1
PATIENT, IMPATIENT = 20, 3
"""Attempts of a command: it waits for about a minute, or ends soon."""

_PROCESS = Path(__file__).with_name("index_process.py")
_OPTIONS = ("--max-tokens", "32", "--overlap-tokens", "4", "--storage", "float32")


def write_first(folder: Path) -> None:
    """What is indexed before anything is killed."""
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(words(f"old{number}", 100))
    _write_table(folder, "old", range(12))


def write_second(folder: Path) -> None:
    """What the runs that are disturbed find: changed, new, gone and unchanged files and rows."""
    for number in range(0, 12, 2):
        (folder / f"{number:02}.txt").write_text(words(f"new{number}", 120))
    for number in range(1, 12, 8):
        (folder / f"{number:02}.txt").unlink()
    for number in range(12, 20):
        (folder / f"{number:02}.txt").write_text(words(f"more{number}", 100))
    _write_table(folder, "new", range(6, 20))


def _write_table(folder: Path, name: str, numbers: range) -> None:
    """A table; of its rows, every fourth depends on its name alone."""
    rows = [
        {"id": f"r{n}", "text": words(f"row{n}" if n % 4 else f"{name}{n}", 40)} for n in numbers
    ]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def index_here(folder: Path, address: str) -> None:
    """Do what a process that is not disturbed would, with a faked server."""
    batch_chunks, encoding._BATCH_CHUNKS = encoding._BATCH_CHUNKS, 4  # type: ignore[misc]
    try:
        with (
            closing(open_store(address)) as store,
            Client(transport=FakeTransport(delay_seconds=DELAY_SECONDS)) as client,
        ):
            Indexer(client, store).index(
                COLLECTION,
                Corpus([folder]),
                CollectionOptions(storage="float32", max_tokens=32, overlap_tokens=4),
            )
    finally:
        encoding._BATCH_CHUNKS = batch_chunks  # type: ignore[misc]


@contextmanager
def started_index(
    folder: Path, address: str, *, url: str | None = None, attempts: int = PATIENT
) -> Iterator[subprocess.Popen[str]]:
    """The command, which has begun; it is killed at the end of the block.

    Args:
        folder: What it indexes.
        address: The store's.
        url: The server's; None for a faked one.
        attempts: See `PATIENT`.
    """
    with subprocess.Popen(
        [
            *(sys.executable, str(_PROCESS)),
            *("real" if url else str(DELAY_SECONDS), str(attempts)),
            *(str(folder), "-c", COLLECTION, "--store", address, *_OPTIONS),
            *(("--url", url) if url else ()),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            assert "begun\n" == process.stdout.readline(), process.communicate()
            yield process
        finally:
            process.kill()


def folder_contents(store_folder: Path) -> dict[str, dict[str, Any]]:
    """All that an embedded store has; see `contents`."""
    with closing(open_store(str(store_folder))) as store:
        assert all(source.complete for source in store.sources(COLLECTION))
    with closing(QdrantLocal(str(store_folder / COLLECTION))) as qdrant:
        return contents(qdrant)


def contents(qdrant: QdrantBase) -> dict[str, dict[str, Any]]:
    """All points that there are, by id: payload and every number of the vectors."""
    points, end = qdrant.scroll(COLLECTION, limit=100_000, with_vectors=True)

    assert end is None
    return {str(point.id): {"payload": point.payload, **_numbers(point.vector)} for point in points}


def _numbers(vectors: Any) -> dict[str, Any]:
    sparse = vectors[SPARSE]
    return {
        DENSE: np.asarray(vectors[DENSE], np.float32),
        SPARSE: dict(sorted(zip(sparse.indices, sparse.values, strict=True))),
        COLBERT: np.asarray(vectors[COLBERT], np.float32),
    }


def assert_same(
    expected: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]], atol: float = 0.0
) -> float:
    """Ids and payloads are the same; no number is further from the other than ``atol``.

    Returns:
        How far the furthest are from each other.
    """
    assert expected.keys() == found.keys()
    furthest = 0.0
    for one, point in expected.items():
        other = found[one]
        assert point["payload"] == other["payload"]
        # A weight that is next to nothing may be there or not.
        weights, others = point[SPARSE], other[SPARSE]
        furthest = max(
            furthest,
            _distance(point[DENSE], other[DENSE]),
            _distance(point[COLBERT], other[COLBERT]),
            *(abs(weights.get(token, 0.0) - others.get(token, 0.0)) for token in weights | others),
        )
        assert furthest <= atol
        assert atol > 0 or weights == others
    return furthest


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    assert one.shape == other.shape
    return float(np.max(np.abs(one - other)))
