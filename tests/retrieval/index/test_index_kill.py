"""SIGKILL in the middle of a run on a real store: the next one finishes it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from index_run import words

from bgem3_client import Client, FakeTransport
from bgem3_retrieval.index.collection import CollectionOptions
from bgem3_retrieval.index.corpus import Corpus
from bgem3_retrieval.index.indexer import Indexer
from bgem3_retrieval.stores.address import open_store
from bgem3_retrieval.stores.query import QueryVectors

COLLECTION = "notes"
OPTIONS = CollectionOptions(max_tokens=32, overlap_tokens=4)
MOMENTS = int(os.environ.get("BGEM3_KILL_MOMENTS", "2"))
"""How often a run is killed; ``make kill-index`` does it more often."""

PROCESS = Path(__file__).with_name("index_process.py")


def write_first(folder: Path) -> None:
    """What is indexed before anything is killed."""
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(words(f"old{number}", 100))
    write_table(folder, "old", range(12))


def write_second(folder: Path) -> None:
    """What the runs that are killed find: changed, new, gone and unchanged files and rows."""
    for number in range(0, 12, 2):
        (folder / f"{number:02}.txt").write_text(words(f"new{number}", 120))
    for number in range(1, 12, 8):
        (folder / f"{number:02}.txt").unlink()
    for number in range(12, 20):
        (folder / f"{number:02}.txt").write_text(words(f"more{number}", 100))
    write_table(folder, "new", range(6, 20))


def write_table(folder: Path, name: str, numbers: range) -> None:
    """A table; of its rows, every fourth depends on its name alone."""
    rows = [
        {"id": f"r{n}", "text": words(f"row{n}" if n % 4 else f"{name}{n}", 40)} for n in numbers
    ]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def index(folder: Path, store_folder: Path) -> None:
    """Index without being disturbed."""
    with (
        closing(open_store(str(store_folder))) as store,
        Client(transport=FakeTransport()) as client,
    ):
        Indexer(client, store).index(COLLECTION, Corpus([folder]), OPTIONS)


def run_and_kill(folder: Path, store_folder: Path, seconds: float) -> bool:
    """Kill a run so long after it began; return whether it was under way."""
    with subprocess.Popen(
        [sys.executable, str(PROCESS), str(folder), str(store_folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "begun\n" == process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        return "done" not in process.stdout.read()


def contents(store_folder: Path) -> dict[Any, Any]:
    """All points: what is stored, and what their vectors come to with some query."""
    with (
        closing(open_store(str(store_folder))) as store,
        Client(transport=FakeTransport()) as client,
    ):
        embedding = client.encode(["sentence of old3 and new4"], {"dense", "sparse", "colbert"})[0]
        query = QueryVectors(
            embedding.dense, embedding.sparse, embedding.colbert.astype(np.float32)
        )
        found = store.nearest(COLLECTION, QueryVectors(dense=embedding.dense), 1_000_000)
        scores = store.scores(COLLECTION, query, [candidate.id for candidate in found])

        assert store.count(COLLECTION) == len(found)
        assert all(source.complete for source in store.sources(COLLECTION))
        return {
            candidate.id: (
                candidate.stored,
                {name: round(score, 5) for name, score in scores[candidate.id].items()},
            )
            for candidate in found
        }


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """The next run gives, to the point, what a run that was never disturbed gives."""
    folder, start, fresh = tmp_path / "folder", tmp_path / "start", tmp_path / "fresh"
    folder.mkdir()
    write_first(folder)
    index(folder, start)
    before = contents(start)
    write_second(folder)
    begun = time.monotonic()
    index(folder, fresh)
    whole_seconds = time.monotonic() - begun
    expected = contents(fresh)
    moments = random.Random(os.environ.get("BGEM3_KILL_SEED", "bgem3"))
    under_way = 0
    for moment in range(MOMENTS):
        killed = tmp_path / f"killed{moment}"
        shutil.copytree(start, killed)
        seconds = moments.uniform(0, whole_seconds)
        under_way += run_and_kill(folder, killed, seconds)
        index(folder, killed)

        assert expected == contents(killed), f"killed after {seconds:.3f} s"
        shutil.rmtree(killed)

    assert before.keys() != expected.keys()
    assert under_way > 0
