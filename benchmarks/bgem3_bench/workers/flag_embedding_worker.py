"""FlagEmbedding on a CPU: the reference, run as its own documentation does it.

There is no variant in BF16: with ``use_bf16`` too, the library turns the model to FP32 on a CPU.
Before the first batch of each call it runs that batch once to see whether memory is enough; that
is part of what its users get, so it is timed and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
else:
    import worker_protocol as protocol


class FlagEmbedding(protocol.System):
    """``BGEM3FlagModel`` in FP32."""

    outputs = frozenset({"dense", "sparse", "colbert"})

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Load the checkpoint into PyTorch."""
        protocol.set_openmp_threads(threads)
        from FlagEmbedding import BGEM3FlagModel

        self._max_length = max_length
        self._model = BGEM3FlagModel(str(checkpoint), use_fp16=False, devices="cpu")
        self.computed_tokens = 0
        self._model.model.model.register_forward_pre_hook(self._count, with_kwargs=True)
        return protocol.Loaded(
            protocol.versions("FlagEmbedding", "torch", "transformers"),
            f"BGEM3FlagModel(use_fp16=False), FP32, default batch size {self._model.batch_size}, "
            f"max_length={max_length}",
            "fp32",
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Encode as a user would; the library sorts by length."""
        return self._model.encode(
            texts,
            batch_size=batch_size,
            max_length=self._max_length,
            return_dense="dense" in outputs,
            return_sparse="sparse" in outputs,
            return_colbert_vecs="colbert" in outputs,
        )

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Return the arrays and maps of the library as arrays."""
        parts = []
        if "dense" in outputs:
            parts.append(protocol.Embeddings(dense=results["dense_vecs"].astype("float32")))
        if "sparse" in outputs:
            parts.append(protocol.sparse_embeddings(results["lexical_weights"]))
        if "colbert" in outputs:
            parts.append(protocol.colbert_embeddings(results["colbert_vecs"]))
        return protocol.merged(parts)

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the library's own tokenizer."""
        encoded = self._model.tokenizer(texts, truncation=True, max_length=self._max_length)
        return sum(map(len, encoded["input_ids"]))

    def _count(self, _module: Any, _arguments: Any, keywords: Mapping[str, Any]) -> None:
        assert self.computed_tokens is not None
        self.computed_tokens += keywords["input_ids"].numel()


if __name__ == "__main__":
    protocol.serve(FlagEmbedding())
