"""Parquet: a row a text, written in row groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.model_info import ModelInfo
from bgem3_client.sparse import SparseEmbeddings

# In memory until it is written: some 15,000 dense vectors of BGE-M3's size.
_ROW_GROUP_BYTES: Final = 64 << 20


def parquet_schema(options: EncodeOptions, model: ModelInfo) -> pa.Schema:
    """Return the columns for what the options ask for, in the model's sizes."""
    fields = [pa.field("id", pa.string(), nullable=False)]
    if "dense" in options.outputs:
        fields.append(_field("dense", pa.list_(pa.float32(), model.hidden_size)))
    if "sparse" in options.outputs:
        fields.append(_field("sparse_indices", pa.list_(pa.int32())))
        fields.append(_field("sparse_values", pa.list_(pa.float32())))
        if options.return_tokens:
            fields.append(_field("sparse_tokens", pa.list_(pa.string())))
    if "colbert" in options.outputs:
        number = pa.float32() if options.colbert_dtype == "float32" else pa.float16()
        fields.append(_field("colbert", pa.list_(pa.list_(number, model.colbert_size))))
    fields.append(_field("token_count", pa.int32()))
    fields.append(_field("truncated", pa.bool_()))
    return pa.schema(fields)


class ParquetWriter:
    """Writes the columns of :func:`parquet_schema`; a row group at most is in memory."""

    def __init__(self, stream: BinaryIO, options: EncodeOptions, model: ModelInfo) -> None:
        self._options = options
        self._schema = parquet_schema(options, model)
        # Vectors have no repetitions that a dictionary could use.
        self._file = pa.parquet.ParquetWriter(stream, self._schema, use_dictionary=False)
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0

    def write(self, ids: Sequence[str], embeddings: Embeddings) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        columns = self._columns(ids, embeddings)
        batch = pa.record_batch([columns[name] for name in self._schema.names], self._schema)
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes >= _ROW_GROUP_BYTES:
            self._write_row_group()

    def finish(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        if self._held:
            self._write_row_group()
        self.close()

    def close(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        # Now, and not in its finaliser, when the stream is gone.
        self._file.close()

    def _write_row_group(self) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        self._file.write_table(table, row_group_size=len(table))
        self._held = []
        self._held_bytes = 0

    def _columns(self, ids: Sequence[str], embeddings: Embeddings) -> dict[str, pa.Array]:
        columns = {
            "id": pa.array(ids, pa.string()),
            "token_count": pa.array(embeddings.token_lengths),
            "truncated": pa.array(embeddings.truncated),
        }
        if "dense" in self._options.outputs:
            columns["dense"] = _vectors(embeddings.dense)
        if "sparse" in self._options.outputs:
            columns |= _sparse_columns(embeddings.sparse)
        if "colbert" in self._options.outputs:
            colbert = embeddings.colbert
            columns["colbert"] = _lists(colbert.offsets, _vectors(colbert.vectors))
        return columns


def _field(name: str, datatype: pa.DataType) -> pa.Field:
    return pa.field(name, datatype, nullable=False)


def _sparse_columns(sparse: SparseEmbeddings) -> dict[str, pa.Array]:
    columns = {
        "sparse_indices": _lists(sparse.offsets, pa.array(sparse.indices)),
        "sparse_values": _lists(sparse.offsets, pa.array(sparse.values)),
    }
    if sparse.token_texts is not None:
        tokens = [sparse.token_texts[index] for index in sparse.indices.tolist()]
        columns["sparse_tokens"] = _lists(sparse.offsets, pa.array(tokens, pa.string()))
    return columns


def _vectors(vectors: NDArray[Any]) -> pa.Array:
    """Return [n, d] numbers as n lists of d."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def _lists(offsets: NDArray[np.int64], values: pa.Array) -> pa.Array:
    """Return rows of unlike length; those of one batch fit in the 32-bit offsets of a list."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
