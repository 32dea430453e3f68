"""Infinity's engine on PyTorch: its own queue merges callers into batches; dense."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
    from bgem3_bench.workers.sentence_transformers_layout import sentence_transformers_layout
else:
    import worker_protocol as protocol
    from sentence_transformers_layout import sentence_transformers_layout


class Infinity(protocol.System):
    """``AsyncEmbeddingEngine``, the part of Infinity behind its HTTP service."""

    serialised = False

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Load the checkpoint and start the engine's loop."""
        protocol.set_openmp_threads(threads)
        from infinity_emb import AsyncEmbeddingEngine, EngineArgs

        self._checkpoint, self._max_length = checkpoint, max_length
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        with ExitStack() as stack:
            folder = stack.enter_context(sentence_transformers_layout(checkpoint, max_length))
            arguments = EngineArgs(
                model_name_or_path=str(folder),
                engine="torch",
                device="cpu",
                dtype="float32",
                model_warmup=False,
            )
            self._engine = AsyncEmbeddingEngine.from_args(arguments)
            self._await(self._engine.astart())
        return protocol.Loaded(
            protocol.versions("infinity-emb", "torch", "transformers"),
            "AsyncEmbeddingEngine, PyTorch engine, FP32, its default batch size "
            f"{arguments.batch_size}, callers merged by its own queue",
            "fp32",
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Hand all texts to the queue."""
        if batch_size is not None:
            raise protocol.Unsupported("its batch size is fixed when it starts")
        vectors, _tokens = self._await(self._engine.embed(sentences=texts))
        return vectors

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Stack the vectors."""
        return protocol.Embeddings(dense=np.stack(results).astype(np.float32))

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the checkpoint's tokenizer."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(self._checkpoint))  # a folder  # nosec B615
        encoded = tokenizer(texts, truncation=True, max_length=self._max_length)
        return sum(map(len, encoded["input_ids"]))

    def close(self) -> None:
        """Stop the engine and the loop."""
        self._await(self._engine.astop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _await(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()


if __name__ == "__main__":
    protocol.serve(Infinity())
