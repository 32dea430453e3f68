"""Shards read back: what the client returns, in the order of the lines, for every reader."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_run import CorpusCommand

from bgem3_client import Client, Embeddings, FakeTransport
from bgem3_client.encode_request import ColbertDtype

# Of unlike lengths, so that sorting by length changes their order.
TEXTS = [
    " ".join(f"word{number % (place + 3)}" for number in range(place * 7 % 23))
    for place in range(57)
]


def write_lines(folder: Path, name: str, texts: Sequence[str]) -> None:
    """Write a JSONL file; ids are ``NAME-0`` and so on."""
    lines = [json.dumps({"id": f"{name}-{i}", "text": text}) for i, text in enumerate(texts)]
    content = "".join(f"{line}\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def expected_embeddings(colbert_dtype: ColbertDtype = "float32") -> Embeddings:
    """What the client returns for the texts."""
    with Client(transport=FakeTransport()) as client:
        return client.encode(
            TEXTS, {"dense", "sparse", "colbert"}, return_tokens=True, colbert_dtype=colbert_dtype
        )


@pytest.fixture
def all_outputs(corpus_command: CorpusCommand) -> CorpusCommand:
    """The texts encoded into small shards, in requests smaller still."""
    write_lines(corpus_command.folder, "a.jsonl", TEXTS)
    outcome = corpus_command(
        *("a.jsonl", "--outputs", "dense,sparse,colbert", "--tokens"),
        *("--colbert-dtype", "float16", "--shard-texts", "20", "--batch-texts", "7"),
    )

    assert 0 == outcome.exit_code, outcome.stderr
    return corpus_command


def test_pyarrow_reads_what_the_client_returns(all_outputs: CorpusCommand) -> None:
    """Every number, in the order of the lines, over all shards."""
    expected = expected_embeddings("float16")
    table = all_outputs.table()
    dense = table["dense"].combine_chunks()

    assert [f"a.jsonl-{i}" for i in range(len(TEXTS))] == table["id"].to_pylist()
    assert pa.list_(pa.float32(), 16) == dense.type
    np.testing.assert_array_equal(expected.dense, dense.flatten().to_numpy().reshape(-1, 16))
    assert expected.token_lengths.tolist() == table["token_count"].to_pylist()
    for row, embedding in zip(table.to_pylist(), expected, strict=True):
        assert embedding.sparse.indices.tolist() == row["sparse_indices"]
        assert embedding.sparse.values.tolist() == row["sparse_values"]
        assert list(embedding.sparse.tokens()) == row["sparse_tokens"]
        colbert = np.array(row["colbert"], np.float16).reshape(-1, 16)
        np.testing.assert_array_equal(embedding.colbert, colbert)


def test_pandas_reads_the_folder(all_outputs: CorpusCommand) -> None:
    """By its name alone: the manifest is out of the way."""
    expected = expected_embeddings("float16")
    frame = pd.read_parquet(all_outputs.out())

    assert len(TEXTS) == len(frame)
    np.testing.assert_array_equal(expected.dense, np.stack(frame["dense"].tolist()))
    np.testing.assert_array_equal(expected.colbert[9], np.stack(frame["colbert"][9].tolist()))


def test_duckdb_reads_the_shards(all_outputs: CorpusCommand) -> None:
    """Lists it can compute with, 16-bit numbers too."""
    expected = expected_embeddings("float16")
    (found,) = duckdb.sql(
        "SELECT list(id ORDER BY id), count(*), max(len(colbert)), "
        "max(list_dot_product(dense, dense)) "
        f"FROM read_parquet('{all_outputs.out()}/*.parquet')"
    ).fetchall()
    ((colbert, indices),) = duckdb.sql(
        f"SELECT colbert, sparse_indices FROM read_parquet('{all_outputs.out()}/*.parquet') "
        "WHERE id = 'a.jsonl-9'"
    ).fetchall()

    assert (sorted(f"a.jsonl-{i}" for i in range(len(TEXTS))), len(TEXTS)) == found[:2]
    assert expected.token_lengths.max() - 1 == found[2]
    assert 1 == pytest.approx(found[3])
    np.testing.assert_array_equal(expected.colbert[9], np.array(colbert, np.float16))
    assert expected.sparse[9].indices.tolist() == indices


def test_the_manifest_tells_what_is_in_the_shards(all_outputs: CorpusCommand) -> None:
    """Rows, lines, sizes; and a shard says whose vectors it holds."""
    manifest = all_outputs.manifest()
    shards = manifest["shards"]

    assert manifest["complete"]
    assert {"name": "bge_m3", "version": "1", "hidden_size": 16, "colbert_size": 16} == (
        manifest["model"]
    )
    assert [(0, 20), (20, 20), (40, 17)] == [(s["first_line"], s["lines"]) for s in shards]
    assert [len(all_outputs.files()[s["file"]]) for s in shards] == [
        s["size_bytes"] for s in shards
    ]
    metadata = pq.read_schema(all_outputs.out("part-00000.parquet")).metadata
    assert (b"bge_m3", b"1") == (metadata[b"bgem3.model"], metadata[b"bgem3.model_version"])


def test_a_request_has_texts_of_like_lengths(all_outputs: CorpusCommand) -> None:
    """Within a window they are sorted, the longest first."""
    requests = [r for t in all_outputs.transports.values() for r in t.requests]
    lengths = [[len(text) for text in r.texts] for r in requests if r.texts != (b"ready?",)]

    assert 9 == len(lengths)
    assert lengths == [sorted(request, reverse=True) for request in lengths]
    # Inside a shard, requests start in the order of their lengths.
    first_shard = list(chain.from_iterable(lengths[:3]))
    assert sorted(first_shard, reverse=True) == first_shard


def test_dense_vectors_of_16_bits(corpus_command: CorpusCommand) -> None:
    """Rounded by the client: half the size."""
    write_lines(corpus_command.folder, "a.jsonl", TEXTS)
    corpus_command("a.jsonl", "--dense-dtype", "float16")
    column = corpus_command.table()["dense"].combine_chunks()

    assert pa.list_(pa.float16(), 16) == column.type
    np.testing.assert_array_equal(
        expected_embeddings().dense.astype(np.float16), column.flatten().to_numpy().reshape(-1, 16)
    )


def in_parquet(folder: Path) -> list[str]:
    table = pa.table(
        {
            "number": pa.array(range(100, 100 + len(TEXTS)), pa.int64()),
            "body": pa.array(TEXTS, pa.large_string()),
            "other": pa.array([None] * len(TEXTS), pa.float64()),
        }
    )
    pq.write_table(table, folder / "a.parquet", row_group_size=10)
    return ["a.parquet", "--text-field", "body", "--id-field", "number"]


def in_a_dictionary(folder: Path) -> list[str]:
    table = pa.table({"id": [str(i) for i in range(100, 100 + len(TEXTS))], "text": TEXTS})
    column = table["text"].dictionary_encode()
    pq.write_table(table.set_column(1, "text", column), folder / "a.parquet")
    return ["a.parquet"]


def in_several_files(folder: Path) -> list[str]:
    for number, part in enumerate([TEXTS[:20], TEXTS[20:21], [], TEXTS[21:]]):
        lines = [json.dumps({"text": text}) for text in part]
        (folder / f"{number}.jsonl").write_text("".join(f"{line}\n\n" for line in lines))
    return ["[0-9].jsonl"]


def in_packed_lines(folder: Path) -> list[str]:
    (folder / "a.txt.gz").write_bytes(gzip.compress("\n".join(TEXTS).encode()))
    return ["*.gz"]


@pytest.mark.parametrize(
    ("write", "first_id"),
    [
        (in_parquet, "100"),
        (in_a_dictionary, "100"),
        (in_several_files, "0.jsonl:1"),
        (in_packed_lines, "1"),
    ],
)
def test_every_kind_of_input(
    corpus_command: CorpusCommand, write: Callable[[Path], list[str]], first_id: str
) -> None:
    """Parquet with the columns that are named, patterns, packed files: the same rows."""
    arguments = write(corpus_command.folder)
    outcome = corpus_command(*arguments, "--shard-texts", "25")
    table = corpus_command.table()

    assert 0 == outcome.exit_code, outcome.stderr
    assert first_id == table["id"][0].as_py()
    dense = table["dense"].combine_chunks().flatten().to_numpy().reshape(-1, 16)
    np.testing.assert_array_equal(expected_embeddings().dense, dense)
    assert [25, 25, 7] == [shard["rows"] for shard in corpus_command.manifest()["shards"]]


def test_no_lines_give_a_complete_folder_of_no_shards(corpus_command: CorpusCommand) -> None:
    """An empty input is no mistake."""
    (corpus_command.folder / "a.jsonl").write_bytes(b"")
    outcome = corpus_command("a.jsonl")

    assert 0 == outcome.exit_code, outcome.stderr
    assert ([], True) == (
        corpus_command.manifest()["shards"],
        corpus_command.manifest()["complete"],
    )


def test_parquet_goes_into_a_file_too(corpus_command: CorpusCommand) -> None:
    """What is not a folder of shards reads Parquet all the same."""
    from click.testing import CliRunner

    from bgem3_retrieval.bulk import command, one_file

    pq.write_table(pa.table({"text": ["one", None, "two"]}), corpus_command.folder / "a.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            one_file, "connect", lambda url, say, limits: Client(transport=FakeTransport())
        )
        outcome = CliRunner().invoke(
            command.encode, ["a.parquet", "-o", "out.jsonl", "--on-error", "skip"]
        )
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]

    assert 3 == outcome.exit_code
    assert ["1", "3"] == [row["id"] for row in rows]
    assert "a.parquet:2: field 'text' must be a string, not null" in outcome.stderr
