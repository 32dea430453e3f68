"""Parquet: a row a text, written in row groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.model_info import ModelInfo
from bgem3_retrieval.bulk.columns import columns_schema, record_batch
from bgem3_retrieval.bulk.row_groups import ROW_GROUP_BYTES, RowGroupWriter


class ParquetWriter:
    """Writes the columns of :func:`columns_schema`; a row group at most is in memory."""

    def __init__(self, stream: BinaryIO, options: EncodeOptions, model: ModelInfo) -> None:
        self._schema = columns_schema(
            options, hidden_size=model.hidden_size, colbert_size=model.colbert_size
        )
        self._rows = RowGroupWriter(stream, self._schema, ROW_GROUP_BYTES)

    def write(self, ids: Sequence[str], embeddings: Embeddings) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        self._rows.write(record_batch(self._schema, ids, embeddings))

    def finish(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        self._rows.finish()

    def close(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        self._rows.close()
