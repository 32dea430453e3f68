"""NumPy's NPZ: all texts in a few flat arrays."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.model_info import ModelInfo


class NpzWriter:
    """Writes the arrays of N texts; text ``i`` has the entries ``offsets[i]:offsets[i + 1]``.

    * ``ids`` string [N], ``token_lengths`` int32 [N], ``truncated`` bool [N];
    * ``dense`` float32 [N, d];
    * ``sparse_indices`` int32 [S], ``sparse_values`` float32 [S], ``sparse_offsets`` int64 [N + 1],
      and where tokens were asked for ``token_ids`` int32 [V] and ``token_texts`` string [V], the
      text of each id that occurs;
    * ``colbert`` float32 or float16 [C, d], ``colbert_offsets`` int64 [N + 1].

    An array's size stands before its numbers, and is known when the last text has come: until
    then the numbers are in temporary files, and only ids and tokens in memory.
    """

    def __init__(
        self,
        stream: BinaryIO,
        options: EncodeOptions,
        model: ModelInfo,
        *,
        scratch_folder: Path,
    ) -> None:
        """Make one.

        Args:
            stream: Where the archive is written to.
            options: Say which arrays there are.
            model: Says how wide they are.
            scratch_folder: For the temporary files; they need as much room as the archive.
        """
        self._stream = stream
        self._ids: list[str] = []
        self._token_texts: dict[int, str] | None = {} if options.return_tokens else None
        array = partial(_GrowingArray, scratch_folder)
        self._arrays = {
            "token_lengths": array(np.int32),
            "truncated": array(np.bool_),
        }
        if "dense" in options.outputs:
            self._arrays["dense"] = array(np.float32, (model.hidden_size,))
        if "sparse" in options.outputs:
            self._arrays["sparse_indices"] = array(np.int32)
            self._arrays["sparse_values"] = array(np.float32)
            self._arrays["sparse_offsets"] = array(np.int64)
            self._arrays["sparse_offsets"].append(np.zeros(1, dtype=np.int64))
        if "colbert" in options.outputs:
            self._arrays["colbert"] = array(options.colbert_dtype, (model.colbert_size,))
            self._arrays["colbert_offsets"] = array(np.int64)
            self._arrays["colbert_offsets"].append(np.zeros(1, dtype=np.int64))

    def write(self, ids: Sequence[str], embeddings: Embeddings) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        self._ids += ids
        arrays = self._arrays
        arrays["token_lengths"].append(embeddings.token_lengths)
        arrays["truncated"].append(embeddings.truncated)
        if "dense" in arrays:
            arrays["dense"].append(embeddings.dense)
        if "sparse_indices" in arrays:
            sparse = embeddings.sparse
            arrays["sparse_offsets"].append(arrays["sparse_indices"].rows + sparse.offsets[1:])
            arrays["sparse_indices"].append(sparse.indices)
            arrays["sparse_values"].append(sparse.values)
            self._add_token_texts(sparse.token_texts)
        if "colbert" in arrays:
            colbert = embeddings.colbert
            arrays["colbert_offsets"].append(arrays["colbert"].rows + colbert.offsets[1:])
            arrays["colbert"].append(colbert.vectors)

    def finish(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        with zipfile.ZipFile(self._stream, "w") as archive:
            _add(archive, "ids", np.array(self._ids, dtype=np.str_))
            for name, array in self._arrays.items():
                _add(archive, name, array.mapped())
                array.close()
            if self._token_texts is not None:
                _add(archive, "token_ids", np.array(list(self._token_texts), dtype=np.int32))
                texts = np.array(list(self._token_texts.values()), dtype=np.str_)
                _add(archive, "token_texts", texts)

    def close(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        for array in self._arrays.values():
            array.close()

    def _add_token_texts(self, token_texts: Mapping[int, str] | None) -> None:
        if self._token_texts is not None and token_texts is not None:
            self._token_texts.update(token_texts)


class _GrowingArray:
    """An array [rows, ...] of which the rows lie in a temporary file."""

    def __init__(self, folder: Path, dtype: DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        self.rows = 0
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        # It has no name: the system removes it when it is closed, or the process ends.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows of the array's type and shape."""
        assert rows.dtype == self._dtype
        assert rows.shape[1:] == self._row_shape
        self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def mapped(self) -> NDArray[Any]:
        """Return the whole array, which stays in its file."""
        shape = (self.rows, *self._row_shape)
        if not self.rows:  # an empty file cannot be mapped
            return np.empty(shape, self._dtype)
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=shape)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def _add(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    """Write an array piece by piece, as it may be larger than the memory."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.save(member, array, allow_pickle=False)
