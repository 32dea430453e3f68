"""Into a folder with a real Triton."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bgem3_client import Client
from bgem3_retrieval.bulk.command import encode
from bgem3_server.triton.addresses import Addresses

pytestmark = pytest.mark.live

TEXTS = [
    "How do I reset my password?",
    "如何重置密码",
    "",
    "The invoice of order AX-2231 was paid twice, and the second payment is to be returned. " * 20,
    "short",
]


def test_shards_hold_what_the_client_returns(
    triton: Addresses, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All representations, over gRPC and HTTP at the same time."""
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in [*TEXTS, "x " * 9000]]
    Path("a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    outcome = CliRunner().invoke(
        encode,
        [
            *("a.jsonl", "-o", "out/", "--outputs", "dense,sparse,colbert", "--no-truncate"),
            *("--url", f"{triton.grpc},{triton.http}", "--shard-texts", "3"),
            *("--batch-texts", "2"),
        ],
    )
    expected = client.encode(TEXTS, {"dense", "sparse", "colbert"})
    rows = pq.read_table("out").to_pylist()
    rejected = json.loads(Path("out/_rejected.jsonl").read_text())

    assert 3 == outcome.exit_code, outcome.output
    assert [str(i + 1) for i in range(len(TEXTS))] == [row["id"] for row in rows]
    assert expected.token_lengths.tolist() == [row["token_count"] for row in rows]
    for row, embedding in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row["dense"], embedding.dense, atol=1e-5)
        assert embedding.sparse.indices.tolist() == row["sparse_indices"]
        np.testing.assert_allclose(row["sparse_values"], embedding.sparse.values, atol=1e-5)
        np.testing.assert_allclose(row["colbert"], embedding.colbert, atol=1e-5)
    assert 6 == rejected["line"]
    assert "the text has 9002 tokens" in rejected["reason"]
