"""The model in Ray's workers, and real servers behind them: the numbers are a server's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from ray_cluster import add_node

from bgem3_client import InvalidInputError
from bgem3_client.limits import Limits
from bgem3_export.errors import RepositoryError
from bgem3_retrieval.bulk.command import encode
from bgem3_retrieval.bulk.ray.encoders import OwnModel
from bgem3_retrieval.bulk.ray.repository_export import RepositoryExport
from bgem3_retrieval.bulk.ray.text_encoder import BGEM3Encoder
from bgem3_retrieval.errors import ClusterError, ModelChangedError
from bgem3_server.triton.addresses import Addresses

TEXTS = [
    "How do I reset my password?",
    "如何重置密码",
    "",
    "The invoice of order AX-2231 was paid twice, and the second one is to be returned. " * 20,
    "x " * 9000,
    "short",
    "Der Vertrag endet am 31. März.",
]
# Ray takes a minute or two to start an actor again that its node took along.
KILLS = [False, True] if "BGEM3_KILL_MOMENTS" in os.environ else [False]
OPTIONS = ("--outputs", "dense,sparse,colbert", "--tokens", "--no-truncate", "--shard-texts", "3")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with texts."""
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS]
    (tmp_path / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def run(out: str, *arguments: str) -> None:
    """Run the command into a folder; one line is too long."""
    result = CliRunner().invoke(encode, ["a.jsonl", "-o", f"{out}/", *OPTIONS, *arguments])

    assert 3 == result.exit_code, (result.output, result.exception)


def assert_same(expected: pa.Table, actual: pa.Table) -> None:
    """Hold rows against rows, floating-point numbers as FP32 rounds them."""
    numbers = {"dense", "sparse_values", "colbert"}
    others = [name for name in expected.column_names if name not in numbers]

    assert expected.schema == actual.schema
    assert expected.select(others) == actual.select(others)
    for name in numbers:
        for one, other in zip(expected[name].to_pylist(), actual[name].to_pylist(), strict=True):
            np.testing.assert_allclose(np.array(one), np.array(other), atol=1e-5)


@pytest.mark.live
def test_servers_and_own_models_give_the_same_folder(
    cluster: Any, triton: Addresses, demo_repository: Path, corpus: Path
) -> None:
    """A real Triton without Ray and with it, and the model in workers; one finishes the other's."""
    run("expected", "--url", triton.grpc)
    run("served", "--ray", cluster.address, "--url", f"{triton.grpc},{triton.http}")
    own = ("--ray", cluster.address, "--ray-repository", str(demo_repository))
    run("own", *own)
    manifest = json.loads((corpus / "expected" / "_manifest.json").read_text())
    begun = {**manifest, "shards": manifest["shards"][:1], "complete": False}
    shutil.copytree("expected", "mixed")
    (corpus / "mixed" / "_manifest.json").write_text(json.dumps(begun))
    run("mixed", *own)
    expected = pq.read_table("expected")

    assert len(TEXTS) - 1 == len(expected)
    for out in ("served", "own", "mixed"):
        assert_same(expected, pq.read_table(out))
        found = json.loads((corpus / out / "_manifest.json").read_text())
        assert manifest["model"] == found["model"]
        assert found["complete"]
        rejected = (corpus / out / "_rejected.jsonl").read_text()
        assert "the text has 9002 tokens" in json.loads(rejected)["reason"]


@pytest.mark.live
@pytest.mark.parametrize("kills", KILLS)
def test_a_dataset_of_ones_own(
    cluster: Any, triton: Addresses, demo_repository: Path, kills: bool
) -> None:
    """Over two addresses, also where a node dies: every row is there once, as without Ray."""
    import ray
    import ray.data

    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        texts = [f"text number {i} " + "and more " * (i % 7) for i in range(240)]
        table = pa.table({"key": list(range(len(texts))), "text": texts})
        rows: list[dict[str, Any]] = []
        dataset = ray.data.from_arrow([table.slice(i, 20) for i in range(0, len(texts), 20)])
        batches = dataset.map_batches(
            BGEM3Encoder,
            fn_constructor_kwargs={
                "urls": [triton.grpc, triton.http],
                "outputs": ("dense", "sparse"),
            },
            batch_format="pyarrow",
            batch_size=20,
            compute=ray.data.ActorPoolStrategy(size=2),
        ).iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow")
        for number, batch in enumerate(batches):
            rows += batch.to_pylist()
            if kills and number == 3:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                add_node(cluster)
    finally:
        ray.shutdown()
    own = BGEM3Encoder(repository=demo_repository, outputs=("dense", "sparse"))
    expected = own(table).to_pylist()

    rows.sort(key=lambda row: row["key"])
    assert [row["key"] for row in expected] == [row["key"] for row in rows]
    for one, other in zip(expected, rows, strict=True):
        np.testing.assert_allclose(one["dense"], other["dense"], atol=1e-5)
        assert one["sparse_indices"] == other["sparse_indices"]
        assert one["token_count"] == other["token_count"]


def test_a_dataset_that_cannot_be_encoded(demo_repository: Path) -> None:
    """It is said what is wrong with what."""
    with pytest.raises(InvalidInputError, match="takes urls, or else a repository"):
        BGEM3Encoder()
    encoder = BGEM3Encoder(repository=demo_repository, truncate=False)
    with pytest.raises(InvalidInputError, match="batch_format='pyarrow'"):
        encoder({"text": ["a"]})  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="no column 'text' among body: say text_column"):
        encoder(pa.table({"body": ["a"]}))
    with pytest.raises(InvalidInputError, match="holds None, which is no text"):
        encoder(pa.table({"text": ["a", None]}))
    with pytest.raises(InvalidInputError, match=r"'x x .*the text has 9002 tokens"):
        encoder(pa.table({"text": ["a", "x " * 9000]}))
    empty = encoder(pa.table({"text": pa.array([], pa.string())}))

    assert ["text", "dense", "token_count", "truncated"] == empty.column_names


def test_a_node_without_the_repository_or_with_another(
    demo_repository: Path, tmp_path: Path
) -> None:
    """The node is named, and what to do."""
    export = RepositoryExport.read(demo_repository)
    (tmp_path / "other").mkdir()
    shutil.copy(demo_repository / "manifest.json", tmp_path / "other" / "manifest.json")
    other = RepositoryExport.read(tmp_path / "other")
    (tmp_path / "other" / "manifest.json").write_bytes(
        (demo_repository / "manifest.json").read_bytes() + b"\n"
    )

    assert export.model == other.model
    with pytest.raises(ModelChangedError, match=r"holds another export .*copy the whole folder"):
        OwnModel(other, 1).endpoints(Limits())
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(ClusterError, match="must be on every node, under the same path"):
        OwnModel(other, 1).endpoints(Limits())
    with pytest.raises(RepositoryError, match="is not a repository"):
        RepositoryExport.read(tmp_path / "other")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ray-repository", "m"), "--ray-repository is about a Ray cluster: add --ray"),
        (("--ray-gpus", "1", "--ray", "auto"), "--ray-gpus is for a model in the workers"),
        (
            ("--ray-repository", "m", "--ray", "auto", "--url", "a:8001"),
            "--ray-repository encodes without a server: leave --url out",
        ),
    ],
)
def test_options_that_do_not_go_together(
    corpus: Path, arguments: tuple[str, ...], message: str
) -> None:
    """They are refused before anything is read."""
    result = CliRunner().invoke(encode, ["a.jsonl", "-o", "out/", *arguments])

    assert 2 == result.exit_code
    assert message in " ".join(result.stderr.split())
