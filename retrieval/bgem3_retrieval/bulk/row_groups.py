"""Record batches gathered into the row groups of a Parquet file."""

from __future__ import annotations

from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet

# In memory until it is written: some 15,000 dense vectors of BGE-M3's size.
ROW_GROUP_BYTES: Final = 64 << 20


class RowGroupWriter:
    """Writes record batches of one schema; a row group at most is in memory.

    The same batches give the same bytes.
    """

    def __init__(self, stream: BinaryIO, schema: pa.Schema, group_bytes: int) -> None:
        """Make one.

        Args:
            stream: Written to from front to back; it stays the caller's to close.
            schema: Of all batches.
            group_bytes: A row group is written when it has reached this size.
        """
        self._schema = schema
        self._file = pa.parquet.ParquetWriter(
            stream,
            schema,
            # Vectors have no repetitions that a dictionary could use, and nobody looks for the
            # smallest of all numbers in them: to find it takes half as long as to write them.
            use_dictionary=False,
            write_statistics=[field.name for field in schema if field.type.num_fields == 0],
        )
        self._group_bytes = group_bytes
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        self._held.append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes >= self._group_bytes:
            self._write_row_group()

    def finish(self) -> None:
        """Write what is still held back: the file is complete."""
        if self._held:
            self._write_row_group()
        self.close()

    def close(self) -> None:
        """Let go of all but the stream; without `finish`, for nothing."""
        # Now, and not in its finaliser, when the stream is gone.
        self._file.close()

    def _write_row_group(self) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        self._file.write_table(table, row_group_size=len(table))
        self._held = []
        self._held_bytes = 0
