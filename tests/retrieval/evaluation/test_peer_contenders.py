"""Peers in the same tables, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_run import Outcome
from eval_run import EvalCommand

import bgem3_export.source
from bgem3_bench.worker_process import WorkerCommand
from bgem3_retrieval.evaluation import peers

WORKER = str(Path(__file__).with_name("peer_words_worker.py"))


@pytest.fixture
def eval_with_peer(
    eval_command: EvalCommand, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bool], Outcome]:
    """Evaluate with a worker in place of FlagEmbedding's, that answers or fails."""
    monkeypatch.setattr(
        bgem3_export.source, "find_source", lambda name: SimpleNamespace(directory=Path(name))
    )

    def run(fails: bool) -> Outcome:
        def command(*_: object) -> WorkerCommand:
            return WorkerCommand("words", (sys.executable, WORKER), {"fails": fails})

        monkeypatch.setattr(peers, "worker_command", command)
        return eval_command(collection, "--peers", "flag-embedding", "--json")

    return run


def test_a_peer_has_the_same_rows(eval_with_peer: Callable[[bool], Outcome]) -> None:
    """Vectors come over as they are: the same ones have the same quality."""
    (result,) = eval_with_peer(False).json["collections"]
    ours, theirs = result["systems"][:6], result["systems"][6:]

    assert [f"flag-embedding: {row['name']}" for row in ours] == [row["name"] for row in theirs]
    assert [row["measures"] for row in ours] == [row["measures"] for row in theirs]
    assert all(row["documents_per_second"] > 0 for row in theirs)
    # 15 pairs of ours, 15 of theirs, and each of ours with the same of theirs.
    assert 36 == len(result["comparisons"])
    our_row, their_row = result["buyer"]
    assert our_row["hybrid_mrr"] == their_row["hybrid_mrr"] is not None
    assert (None, True) == (our_row["peak_bytes"], their_row["peak_bytes"] > 10_000_000)


def test_a_peer_that_fails_is_a_row(eval_with_peer: Callable[[bool], Outcome]) -> None:
    """Ours are measured all the same."""
    outcome = eval_with_peer(True)
    (result,) = outcome.json["collections"]

    assert 0 == outcome.exit_code
    assert 6 == len(result["systems"])
    assert "failed (ValueError: out of order)" == result["buyer"][1]["failure"]
