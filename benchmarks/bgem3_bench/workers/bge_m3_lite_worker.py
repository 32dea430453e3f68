"""bge-m3-lite's way of serving: its tokenizer, its batches by padded tokens, its graph and heads.

The package serves one release of BAAI/bge-m3, whose files it fetches and knows by their digests.
Here it is handed this checkpoint's files in their place; all that computes is its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
else:
    import worker_protocol as protocol


class BgeM3Lite(protocol.System):
    """``BGEM3Embedder`` for lists of texts, ``AsyncEmbedder`` for callers.

    Options: ``files``, the folder that ``bge_m3_lite_files.py`` wrote.
    """

    outputs = frozenset({"dense", "sparse", "colbert"})
    serialised = False

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Load graph and heads, and start the loop that its asyncio front lives in."""
        import json

        from bge_m3_lite import AsyncEmbedder, BGEM3Embedder, embedder, hub

        files = Path(options["files"])
        graph = files / (
            "model_fused.onnx" if (files / "model_fused.onnx").is_file() else "model.onnx"
        )

        def local_files(wanted: Any, *_: Any, **__: Any) -> dict[str, Path]:
            return {file.name: checkpoint / file.name for file in wanted}

        # Its own function compares digests with the released files', deletes what differs, and
        # fetches anew.
        hub.ensure_files = local_files
        embedder.HIDDEN_SIZE = json.loads((checkpoint / "config.json").read_bytes())["hidden_size"]
        self._embedder = BGEM3Embedder(num_threads=threads, max_length=max_length, model_path=graph)
        self.computed_tokens = 0
        self._count_tokens_of(self._embedder.backbone)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._served = AsyncEmbedder(self._embedder)
        return protocol.Loaded(
            protocol.versions("bge-m3-lite", "onnxruntime"),
            f"BGEM3Embedder, FP32, {_GRAPHS[graph.name]}, default batch size "
            f"{embedder.BATCH_SIZE} within {embedder.MAX_BATCH_TOKENS:,} padded tokens; callers by "
            f"AsyncEmbedder ({self._served.max_concurrency} runs at once, window "
            f"{self._served.batch_window_ms:.0f} ms); this checkpoint's files in place of the "
            "release's",
            "fp32",
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Encode as a user would; the library sorts by length."""
        chosen = {} if batch_size is None else {"batch_size": batch_size}
        return self._embedder.encode(texts, **_asked(outputs), **chosen)

    def request(self, text: str, outputs: frozenset[str]) -> None:
        """Ask its asyncio front, which merges callers into batches."""
        answer = self._served.encode(text, **_asked(outputs))
        asyncio.run_coroutine_threadsafe(answer, self._loop).result()

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Return the arrays and maps of the library as arrays."""
        parts = []
        if "dense" in outputs:
            parts.append(protocol.Embeddings(dense=results["dense_vecs"]))
        if "sparse" in outputs:
            parts.append(protocol.sparse_embeddings(results["lexical_weights"]))
        if "colbert" in outputs:
            parts.append(protocol.colbert_embeddings(results["colbert_vecs"]))
        return protocol.merged(parts)

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the library's own tokenizer."""
        return sum(map(len, self._embedder.tokenize(texts)))

    def close(self) -> None:
        """Stop the loop."""
        asyncio.run_coroutine_threadsafe(self._served.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _count_tokens_of(self, backbone: Any) -> None:
        """Let every run of the graph be counted."""

        def counted(input_ids: Any, attention_mask: Any) -> Any:
            assert self.computed_tokens is not None
            self.computed_tokens += input_ids.size
            return backbone(input_ids, attention_mask)

        counted.close = backbone.close  # type: ignore[attr-defined]
        self._embedder.backbone = counted


_GRAPHS = {
    "model_fused.onnx": "its fused graph",
    "model.onnx": "the export as it is (its fusion knows BGE-M3's shape alone)",
}


def _asked(outputs: frozenset[str]) -> dict[str, bool]:
    return {
        "return_dense": "dense" in outputs,
        "return_sparse": "sparse" in outputs,
        "return_colbert_vecs": "colbert" in outputs,
    }


if __name__ == "__main__":
    protocol.serve(BgeM3Lite())
