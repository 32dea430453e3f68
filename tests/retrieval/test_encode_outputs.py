"""What is written, read back: JSONL, NPZ and Parquet hold what the client returned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from encode_run import EncodeCommand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bgem3_client import Client, Embedding, Embeddings, FakeTransport
from bgem3_client.encode_request import ColbertDtype
from bgem3_retrieval.bulk.writers import parquet

TEXTS = ["one two two", "", "如何重置密码", "one", "تسجيل الدخول"]


@dataclass(frozen=True)
class Row:
    """One text's representations, from whatever format."""

    id: str
    dense: NDArray[np.float32]
    sparse: dict[int, float]
    tokens: list[str]
    colbert: NDArray[Any]
    token_count: int
    truncated: bool


def read_jsonl(path: Path, colbert_dtype: str) -> list[Row]:
    """Read JSON lines as a user would."""
    return [
        Row(
            row["id"],
            np.array(row["dense"], dtype=np.float32),
            dict(
                zip(
                    row["sparse"]["indices"],
                    np.array(row["sparse"]["values"], dtype=np.float32).tolist(),
                    strict=True,
                )
            ),
            row["sparse"]["tokens"],
            np.array(row["colbert"], dtype=colbert_dtype),
            row["token_count"],
            row["truncated"],
        )
        # Not splitlines(), which also ends lines at U+0085 and the like.
        for row in map(json.loads, path.read_bytes().splitlines())
    ]


def read_npz(path: Path, colbert_dtype: str) -> list[Row]:
    """Read NPZ as a user would."""
    with np.load(path) as arrays:
        texts = dict(zip(arrays["token_ids"].tolist(), arrays["token_texts"].tolist(), strict=True))
        sparse, colbert = arrays["sparse_offsets"], arrays["colbert_offsets"]
        rows = []
        for number, text_id in enumerate(arrays["ids"].tolist()):
            indices = arrays["sparse_indices"][sparse[number] : sparse[number + 1]].tolist()
            values = arrays["sparse_values"][sparse[number] : sparse[number + 1]].tolist()
            rows.append(
                Row(
                    text_id,
                    arrays["dense"][number],
                    dict(zip(indices, values, strict=True)),
                    [texts[index] for index in indices],
                    arrays["colbert"][colbert[number] : colbert[number + 1]],
                    int(arrays["token_lengths"][number]),
                    bool(arrays["truncated"][number]),
                )
            )
        assert colbert_dtype == arrays["colbert"].dtype
        return rows


def read_parquet(path: Path, colbert_dtype: str) -> list[Row]:
    """Read Parquet as a user would."""
    return [
        Row(
            row["id"],
            np.array(row["dense"], dtype=np.float32),
            dict(zip(row["sparse_indices"], row["sparse_values"], strict=True)),
            row["sparse_tokens"],
            np.array(row["colbert"], dtype=colbert_dtype),
            row["token_count"],
            row["truncated"],
        )
        for row in pa.parquet.read_table(path).to_pylist()
    ]


READERS: dict[str, Callable[[Path, str], list[Row]]] = {
    "jsonl": read_jsonl,
    "npz": read_npz,
    "parquet": read_parquet,
}


def embeddings(
    texts: list[str], colbert_dtype: ColbertDtype = "float32", max_length: int = 8192
) -> Embeddings:
    """What the client gives for them."""
    with Client(transport=FakeTransport()) as client:
        return client.encode(
            texts,
            {"dense", "sparse", "colbert"},
            max_length=max_length,
            return_tokens=True,
            colbert_dtype=colbert_dtype,
        )


def assert_same(expected: Embedding, actual: Row) -> None:
    """Compare all representations, bit by bit."""
    assert np.array_equal(expected.dense, actual.dense)
    assert expected.sparse.as_dict() == actual.sparse
    assert list(expected.sparse.tokens()) == actual.tokens
    assert np.array_equal(expected.colbert, actual.colbert.reshape(expected.colbert.shape))
    assert (expected.token_length, expected.truncated) == (actual.token_count, actual.truncated)


@pytest.mark.parametrize("colbert_dtype", ["float32", "float16"])
@pytest.mark.parametrize("output_format", list(READERS))
def test_every_format_gives_back_the_same_numbers(
    encode_command: EncodeCommand, output_format: str, colbert_dtype: ColbertDtype
) -> None:
    """To the last bit, across batches, with empty texts and cut ones."""
    outcome = encode_command(
        *("-o", f"out.{output_format}", "--outputs", "dense,sparse,colbert", "--tokens"),
        *("--colbert-dtype", colbert_dtype, "--batch-texts", "2", "--max-length", "4"),
        stdin="\n".join(TEXTS).encode(),
    )
    rows = READERS[output_format](encode_command.folder / f"out.{output_format}", colbert_dtype)
    expected = embeddings(TEXTS, colbert_dtype, 4)

    assert 0 == outcome.exit_code
    assert ["1", "2", "3", "4", "5"] == [row.id for row in rows]
    for embedding, row in zip(expected, rows, strict=True):
        assert_same(embedding, row)


def test_parquet_columns(encode_command: EncodeCommand) -> None:
    """Vectors are lists of the model's size; what was not asked for has no column."""
    encode_command.transport = FakeTransport(hidden_size=8, colbert_size=4)
    encode_command("-o", "all.parquet", "--outputs", "dense,sparse,colbert", stdin=b"one\n")
    encode_command.transport = FakeTransport()
    encode_command("-o", "half.parquet", "--colbert-dtype", "float16", "--outputs", "colbert")
    schema = pa.parquet.read_schema(encode_command.folder / "all.parquet")
    half = pa.parquet.read_schema(encode_command.folder / "half.parquet")

    assert {
        "id": pa.string(),
        "dense": pa.list_(pa.field("element", pa.float32()), 8),
        "sparse_indices": pa.list_(pa.field("element", pa.int32())),
        "sparse_values": pa.list_(pa.field("element", pa.float32())),
        "colbert": pa.list_(pa.field("element", pa.list_(pa.field("element", pa.float32()), 4))),
        "token_count": pa.int32(),
        "truncated": pa.bool_(),
    } == dict(zip(schema.names, schema.types, strict=True))
    assert ["id", "colbert", "token_count", "truncated"] == half.names
    assert pa.float16() == half.field("colbert").type.value_type.value_type


def test_parquet_is_written_in_row_groups(
    encode_command: EncodeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in memory does not grow with the file."""
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 1000)
    encode_command("-o", "out.parquet", "--batch-texts", "10", stdin=b"one\n" * 100)
    metadata = pa.parquet.read_metadata(encode_command.folder / "out.parquet")

    assert 100 == metadata.num_rows
    assert [20] * 5 == [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def test_npz_has_only_what_was_asked_for(encode_command: EncodeCommand) -> None:
    """And nothing that needs pickle to be read."""
    encode_command("-o", "out.npz", "--outputs", "sparse", stdin=b"one two\n\nthree\n")
    with np.load(encode_command.folder / "out.npz", allow_pickle=False) as arrays:
        shapes = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}

    assert {
        "ids": ("<U1", (3,)),
        "token_lengths": ("int32", (3,)),
        "truncated": ("bool", (3,)),
        "sparse_indices": ("int32", (3,)),
        "sparse_values": ("float32", (3,)),
        "sparse_offsets": ("int64", (4,)),
    } == shapes


# U+0000 would be a token of the fake tokenizer (not of the model's), and NumPy's strings cannot
# end with it.
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
texts_with_ids = st.lists(st.tuples(any_text, any_text), max_size=12)


@pytest.mark.parametrize("output_format", list(READERS))
@given(records=texts_with_ids, batch_texts=st.integers(1, 5))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_valid_texts_come_out_in_order_under_their_ids(
    encode_command: EncodeCommand,
    output_format: str,
    records: list[tuple[str, str]],
    batch_texts: int,
) -> None:
    """Whatever is in texts and ids, and however they are batched."""
    encode_command.transport = FakeTransport()
    lines = [json.dumps({"text": text, "id": text_id}) for text, text_id in records]
    outcome = encode_command(
        *("--input-format", "jsonl", "-o", f"out.{output_format}"),
        *("--outputs", "dense,sparse,colbert", "--tokens", "--batch-texts", str(batch_texts)),
        stdin="\n".join(lines).encode(),
    )
    rows = READERS[output_format](encode_command.folder / f"out.{output_format}", "float32")

    assert 0 == outcome.exit_code
    assert [text_id for _, text_id in records] == [row.id for row in rows]
    if records:
        for expected, row in zip(embeddings([text for text, _ in records]), rows, strict=True):
            assert_same(expected, row)
