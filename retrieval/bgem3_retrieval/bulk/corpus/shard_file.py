"""One Parquet file of many, that appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.bulk.row_groups import RowGroupWriter

PARTIAL_SUFFIX: Final = ".partial"
# In memory until it is written: some 4,000 dense vectors of BGE-M3's size.
_ROW_GROUP_BYTES: Final = 16 << 20
# Arrow writes a page at a time, and comes to Python with so many bytes only: each time it waits
# for the interpreter, which the threads that read and send are busy with.
_BUFFER_BYTES: Final = 8 << 20


class ShardFile:
    """Is written beside its place as a hidden file, hashed on the way."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Begin it.

        Raises:
            OutputError: It cannot be written.
        """
        self._path = path
        self._partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
        with writing(str(path)):
            self._stream = _HashingStream(self._partial)
            self._buffer = pa.output_stream(
                self._stream, compression=None, buffer_size=_BUFFER_BYTES
            )
            self._rows = RowGroupWriter(self._buffer, schema, _ROW_GROUP_BYTES)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Raises:
            OutputError: They cannot be written.
        """
        with writing(str(self._path)):
            self._rows.write(batch)

    def finish(self) -> tuple[int, str]:
        """Let it appear, lastingly; return its size in bytes and its SHA-256.

        Raises:
            OutputError: It cannot be written.
        """
        with writing(str(self._path)):
            self._rows.finish()
            self._buffer.close()
            self._partial.replace(self._path)
            sync_folder(self._path.parent)
        return self._stream.size_bytes, self._stream.sha256.hexdigest()

    def drop(self) -> None:
        """Leave nothing of it."""
        self._stream.abandon()
        self._rows.close()
        self._buffer.close()
        self._partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, also when the power fails now."""
    if os.name == "nt":  # there a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _HashingStream(io.RawIOBase):
    """A new file, whose bytes are counted and hashed as they are written."""

    def __init__(self, path: Path) -> None:
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        # Without a buffer: closing it writes nothing, and so cannot fail on a full disk.
        self._file = path.open("wb", buffering=0)
        self._abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - whatever has bytes
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and not self._abandoned:
            written += self._file.write(view[written:])
        if not self._abandoned:
            self.sha256.update(view)
            self.size_bytes += len(view)
        return len(view)

    def abandon(self) -> None:
        """Forget what is written from now on, as the end of a Parquet file that nobody wants."""
        self._abandoned = True

    def close(self) -> None:
        """Make the bytes last, if they are wanted."""
        if self.closed:
            return
        try:
            if not self._abandoned:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
            super().close()
