"""One JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bgem3_client.embeddings import Embedding, Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.model_info import ModelInfo
from bgem3_client.sparse import SparseEmbedding


class JsonlWriter:
    """Writes ``id``, ``dense``, ``sparse``, ``colbert``, ``token_count``, ``truncated``.

    What was not asked for is left out. ``sparse`` has ``indices``, ``values`` and, where tokens
    were asked for, ``tokens``. Numbers have as many digits as it takes to read the same
    floating-point number back.
    """

    def __init__(self, stream: BinaryIO, options: EncodeOptions, model: ModelInfo) -> None:
        self._stream = stream
        self._options = options

    def write(self, ids: Sequence[str], embeddings: Embeddings) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""
        for text_id, embedding in zip(ids, embeddings, strict=True):
            fields = ",".join(self._fields(text_id, embedding))
            self._stream.write(f"{{{fields}}}\n".encode())
        # Whoever reads a pipe sees a batch when it is there.
        self._stream.flush()

    def finish(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""

    def close(self) -> None:
        """See :class:`bgem3_retrieval.bulk.writers.Writer`."""

    def _fields(self, text_id: str, embedding: Embedding) -> Iterator[str]:
        yield f'"id":{json.dumps(text_id, ensure_ascii=False)}'
        if "dense" in self._options.outputs:
            yield f'"dense":{_array(embedding.dense)}'
        if "sparse" in self._options.outputs:
            yield f'"sparse":{{{",".join(self._sparse_fields(embedding.sparse))}}}'
        if "colbert" in self._options.outputs:
            yield f'"colbert":[{",".join(_array(vector) for vector in embedding.colbert)}]'
        yield f'"token_count":{embedding.token_length}'
        yield f'"truncated":{json.dumps(embedding.truncated)}'

    def _sparse_fields(self, sparse: SparseEmbedding) -> Iterator[str]:
        yield f'"indices":{json.dumps(sparse.indices.tolist(), separators=(",", ":"))}'
        yield f'"values":{_array(sparse.values)}'
        if sparse.token_texts is not None:
            tokens = [sparse.token_texts[index] for index in sparse.indices.tolist()]
            yield f'"tokens":{json.dumps(tokens, ensure_ascii=False, separators=(",", ":"))}'


def _array(numbers: NDArray[Any]) -> str:
    """Return the numbers as JSON.

    ``json.dumps`` would write each as the float64 it is equal to: twice the digits, and three
    times the time.
    """
    digits = 5 if numbers.dtype == np.float16 else 9
    return "[" + ",".join([f"%.{digits}g"] * len(numbers)) % tuple(numbers.tolist()) + "]"
