"""The quality of the demo model on the shipped collection: each representation does its part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bgem3_retrieval.evaluation.command import evaluate
from bgem3_retrieval.evaluation.measures import NDCG
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

DENSE, SPARSE, HYBRID = "dense", "sparse", "dense+sparse+colbert"


@pytest.fixture(scope="module")
def shipped(triton: Addresses, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``bgem3 eval`` says of the shipped collection, as its JSON has it."""
    folder: Path = tmp_path_factory.mktemp("eval")
    result = CliRunner().invoke(
        evaluate, ["--url", triton.grpc, "--quick", "-o", str(folder)], catch_exceptions=False
    )

    assert 0 == result.exit_code
    (collection,) = json.loads((folder / "results.json").read_text())["collections"]
    return dict(collection)


def _ndcg(shipped: dict[str, Any], system: str, kind: str | None = None) -> float:
    (row,) = [row for row in shipped["systems"] if row["name"] == system]
    return float((row["groups"]["kind"][kind] if kind else row["measures"])[NDCG])


def test_the_hybrid_is_no_worse_than_dense(shipped: dict[str, Any]) -> None:
    """Over all queries."""
    assert _ndcg(shipped, HYBRID) >= _ndcg(shipped, DENSE)


def test_sparse_wins_what_asks_for_a_word(shipped: dict[str, Any]) -> None:
    """Product codes, numbers of articles, names."""
    assert _ndcg(shipped, SPARSE, "lexical") > _ndcg(shipped, DENSE, "lexical")


def test_dense_wins_across_languages(shipped: dict[str, Any]) -> None:
    """Where question and answer have no token in common, and where they have no key word."""
    for kind in ("cross_lingual", "semantic"):
        assert _ndcg(shipped, DENSE, kind) > _ndcg(shipped, SPARSE, kind), kind


def test_the_servers_memory_is_known(shipped: dict[str, Any]) -> None:
    """Of a Triton on this machine, with the processes of its models."""
    (row,) = shipped["buyer"]

    assert row["peak_bytes"] > 200_000_000


def test_quality_did_not_fall(shipped: dict[str, Any]) -> None:
    """What the demo model reached when the collection was written, less a little."""
    assert _ndcg(shipped, DENSE) > 0.6
    assert _ndcg(shipped, SPARSE) > 0.45
    assert _ndcg(shipped, "colbert") > 0.68
