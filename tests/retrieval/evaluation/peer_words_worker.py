"""A peer whose vectors are the fake server's; it stands in for an installed one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bgem3_bench.workers.worker_protocol import Embeddings, Loaded, System, serve, versions
from bgem3_client import Client, FakeTransport


class Words(System):
    outputs = frozenset({"dense", "sparse", "colbert"})

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> Loaded:
        self._client = Client(transport=FakeTransport())
        self._fails = options["fails"]
        return Loaded(versions("numpy"), "words")

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        if self._fails:
            raise ValueError("out of order")
        return self._client.encode(texts, outputs)

    def embeddings(self, results: Any, outputs: frozenset[str]) -> Embeddings:
        sparse, colbert = results.parts.sparse, results.parts.colbert
        return Embeddings(
            results.parts.dense,
            *([sparse.indices, sparse.values, np.diff(sparse.offsets)] if sparse else [None] * 3),
            *([colbert.vectors, np.diff(colbert.offsets)] if colbert else [None] * 2),
        )


if __name__ == "__main__":
    serve(Words())
