"""Optimum's stock ONNX export in ONNX Runtime: padded batches, sorted by length.

The two heads, which Optimum does not know, are what a careful user would write around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
else:
    import worker_protocol as protocol

_BATCH_SIZE: Final = 32
# <s>, <pad>, </s>, <unk>: no words.
_UNUSED_IDS: Final = (0, 1, 2, 3)


class OptimumOnnx(protocol.System):
    """``ORTModelForFeatureExtraction`` on the CPU provider.

    Options: ``files``, the folder of the export.
    """

    outputs = frozenset({"dense", "sparse", "colbert"})

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Load the exported graph, and the heads from the checkpoint."""
        protocol.set_openmp_threads(threads)
        import onnxruntime
        import torch
        from optimum.onnxruntime import ORTModelForFeatureExtraction
        from transformers import AutoTokenizer

        self._torch = torch
        self._max_length = max_length
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = threads
        self._tokenizer = AutoTokenizer.from_pretrained(str(checkpoint))  # a folder  # nosec B615
        self._model = ORTModelForFeatureExtraction.from_pretrained(
            options["files"],
            provider="CPUExecutionProvider",
            session_options=session_options,
            local_files_only=True,
        )
        self._sparse = self._head(checkpoint / "sparse_linear.pt")
        self._colbert = self._head(checkpoint / "colbert_linear.pt")
        self.computed_tokens = 0
        return protocol.Loaded(
            protocol.versions("optimum-onnx", "onnxruntime", "torch", "transformers"),
            "optimum's export as it is (no optimisation level), ORTModelForFeatureExtraction, CPU "
            f"provider, FP32, default batch size {_BATCH_SIZE} (ours: Optimum has none), texts "
            "sorted by length and padded to the longest of their batch, heads in PyTorch",
            "fp32",
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Encode longest first."""
        ids = self._tokenizer(texts, truncation=True, max_length=self._max_length)["input_ids"]
        order = sorted(range(len(texts)), key=lambda number: -len(ids[number]))
        results: list[dict[str, Any]] = [{} for _ in texts]
        size = batch_size or _BATCH_SIZE
        with self._torch.inference_mode():
            for begin in range(0, len(texts), size):
                batch = order[begin : begin + size]
                found = self._encode_batch([ids[number] for number in batch], outputs)
                for number, result in zip(batch, found):  # noqa: B905 (Python 3.9 has no strict)
                    results[number] = result
        return results

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Stack the results of all texts."""
        parts = []
        if "dense" in outputs:
            parts.append(
                protocol.Embeddings(dense=np.stack([result["dense"] for result in results]))
            )
        if "sparse" in outputs:
            parts.append(protocol.sparse_embeddings([result["sparse"] for result in results]))
        if "colbert" in outputs:
            parts.append(protocol.colbert_embeddings([result["colbert"] for result in results]))
        return protocol.merged(parts)

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the checkpoint's tokenizer."""
        encoded = self._tokenizer(texts, truncation=True, max_length=self._max_length)
        return sum(map(len, encoded["input_ids"]))

    def _encode_batch(self, ids: list[list[int]], outputs: frozenset[str]) -> list[dict[str, Any]]:
        """Return a result a text; ``ids`` are ordered longest first."""
        torch = self._torch
        padded = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        assert self.computed_tokens is not None
        self.computed_tokens += padded["input_ids"].numel()
        states = self._model(**padded).last_hidden_state
        results: list[dict[str, Any]] = [{} for _ in ids]
        if "dense" in outputs:
            dense = torch.nn.functional.normalize(states[:, 0], dim=-1).numpy()
            for number, row in enumerate(dense):
                results[number]["dense"] = row
        if "sparse" in outputs:
            weights = torch.relu(torch.nn.functional.linear(states, *self._sparse))[..., 0].numpy()
            for number, row in enumerate(ids):
                results[number]["sparse"] = _largest(np.array(row), weights[number, : len(row)])
        if "colbert" in outputs:
            vectors = torch.nn.functional.linear(states[:, 1:], *self._colbert)
            vectors = torch.nn.functional.normalize(vectors, dim=-1).numpy()
            for number, row in enumerate(ids):
                # A copy: the padding need not live as long as the result.
                results[number]["colbert"] = vectors[number, : len(row) - 1].copy()
        return results

    def _head(self, path: Path) -> tuple[Any, Any]:
        state = self._torch.load(path, weights_only=True)
        return state["weight"].float(), state["bias"].float()


def _largest(ids: Any, weights: Any) -> dict[int, float]:
    """Return the largest weight of each token id that has one above 0."""
    kept = (weights > 0) & ~np.isin(ids, _UNUSED_IDS)
    found, position = np.unique(ids[kept], return_inverse=True)
    largest = np.zeros(len(found), np.float32)
    np.maximum.at(largest, position, weights[kept])
    return dict(zip(found.tolist(), largest.tolist()))  # noqa: B905


if __name__ == "__main__":
    protocol.serve(OptimumOnnx())
