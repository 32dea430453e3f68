"""Running ``bgem3 eval`` in this process, and collections to run it on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from command_run import Outcome, run_command

import bgem3_retrieval.evaluation.command
from bgem3_client import FakeTransport
from bgem3_retrieval.evaluation.candidates import Candidates
from bgem3_retrieval.evaluation.dataset import Dataset, MemoryCorpus, Query
from bgem3_retrieval.evaluation.ranking import ScoredDataset


@dataclass
class EvalCommand:
    """Runs the command in ``folder``, with the fake transport as its server."""

    folder: Path
    transport: FakeTransport

    def __call__(self, *arguments: str) -> Outcome:
        """Run it with these arguments."""
        command = bgem3_retrieval.evaluation.command.evaluate
        return run_command(command, [str(argument) for argument in arguments])


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


def small_collection(folder: Path) -> Path:
    """Write a collection of three documents and two queries in BEIR's layout."""
    write_rows(
        folder / "corpus.jsonl",
        [
            {"_id": "apple", "title": "Apple", "text": "a red fruit", "metadata": {}},
            {"_id": "lemon", "title": "", "text": "a yellow fruit"},
            {"_id": "香蕉", "text": "弯弯 的 水果"},
        ],
    )
    write_rows(
        folder / "queries.jsonl",
        [
            {"_id": "q1", "text": "red fruit", "metadata": {"kind": "lexical", "language": "en"}},
            {"_id": "q2", "text": "水果", "metadata": {"kind": "plain", "language": "zh"}},
            {"_id": "unjudged", "text": "nobody knows"},
        ],
    )
    qrels = folder / "qrels" / "test.tsv"
    qrels.parent.mkdir()
    qrels.write_text("query-id\tcorpus-id\tscore\nq1\tapple\t2\nq1\tlemon\t1\nq2\t香蕉\t1\n")
    return folder


def planted(
    scores: Sequence[Sequence[Sequence[float]]], relevant: Sequence[int]
) -> tuple[Dataset, ScoredDataset]:
    """Return a collection whose candidates have these scores.

    Args:
        scores: By query and document: dense, sparse and ColBERT.
        relevant: By query: the place of the only relevant document.
    """
    documents = [f"d{place}" for place in range(len(scores[0]))]
    queries = [f"q{place:03}" for place in range(len(scores))]
    dataset = Dataset(
        "planted",
        MemoryCorpus(documents, documents),
        tuple(Query(query, query, {}) for query in queries),
        {query: {documents[place]: 1} for query, place in zip(queries, relevant, strict=True)},
    )
    candidates = tuple(
        Candidates(np.arange(len(documents)), np.array(rows, np.float64)) for rows in scores
    )
    outputs = frozenset({"dense", "sparse", "colbert"})
    return dataset, ScoredDataset(candidates, outputs, True, 0, 0, {})
