"""Embeddings as Arrow columns: straight from the flat arrays, without an object for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ColbertDtype, EncodeOptions
from bgem3_client.sparse import SparseEmbeddings


def columns_schema(
    options: EncodeOptions,
    *,
    hidden_size: int,
    colbert_size: int,
    dense_dtype: ColbertDtype = "float32",
) -> pa.Schema:
    """Return the columns for what the options ask for; no value is ever null.

    Args:
        options: How the texts are encoded.
        hidden_size: Numbers in a dense vector.
        colbert_size: Numbers in a ColBERT vector.
        dense_dtype: ``"float16"`` halves what dense vectors weigh.
    """
    fields = [_field("id", pa.string())]
    if "dense" in options.outputs:
        fields.append(_field("dense", pa.list_(_number(dense_dtype), hidden_size)))
    if "sparse" in options.outputs:
        fields.append(_field("sparse_indices", pa.list_(pa.int32())))
        fields.append(_field("sparse_values", pa.list_(pa.float32())))
        if options.return_tokens:
            fields.append(_field("sparse_tokens", pa.list_(pa.string())))
    if "colbert" in options.outputs:
        vector = pa.list_(_number(options.colbert_dtype), colbert_size)
        fields.append(_field("colbert", pa.list_(vector)))
    fields.append(_field("token_count", pa.int32()))
    fields.append(_field("truncated", pa.bool_()))
    return pa.schema(fields)


def record_batch(schema: pa.Schema, ids: Sequence[str], embeddings: Embeddings) -> pa.RecordBatch:
    """Return N texts' representations under their N ids, in the columns of the schema."""
    columns = {
        "id": pa.array(ids, pa.string()),
        "token_count": pa.array(embeddings.token_lengths),
        "truncated": pa.array(embeddings.truncated),
    }
    parts = embeddings.parts
    if parts.dense is not None:
        dtype = schema.field("dense").type.value_type.to_pandas_dtype()
        columns["dense"] = _vectors(parts.dense.astype(dtype, copy=False))
    if parts.sparse is not None:
        columns |= _sparse_columns(parts.sparse)
    if parts.colbert is not None:
        columns["colbert"] = _lists(parts.colbert.offsets, _vectors(parts.colbert.vectors))
    return pa.record_batch([columns[name] for name in schema.names], schema)


def _field(name: str, datatype: pa.DataType) -> pa.Field:
    return pa.field(name, datatype, nullable=False)


def _number(dtype: ColbertDtype) -> pa.DataType:
    return pa.float32() if dtype == "float32" else pa.float16()


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
