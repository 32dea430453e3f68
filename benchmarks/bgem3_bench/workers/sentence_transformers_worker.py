"""sentence-transformers on PyTorch: what most people take for the dense vector."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
    from bgem3_bench.workers.sentence_transformers_layout import sentence_transformers_layout
else:
    import worker_protocol as protocol
    from sentence_transformers_layout import sentence_transformers_layout


class SentenceTransformers(protocol.System):
    """``SentenceTransformer`` with its PyTorch backend; dense.

    Options: ``precision``, "fp32" (default) or "bf16": the type of the weights.
    """

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Load the checkpoint into PyTorch."""
        protocol.set_openmp_threads(threads)
        import torch
        from sentence_transformers import SentenceTransformer

        precision = options.get("precision", "fp32")
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        with ExitStack() as stack:
            folder = stack.enter_context(sentence_transformers_layout(checkpoint, max_length))
            self._model: Any = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": dtype}
            )
        self._model.max_seq_length = max_length
        self.computed_tokens = 0
        self._model[0].register_forward_pre_hook(self._count)
        return protocol.Loaded(
            protocol.versions("sentence-transformers", "torch", "transformers"),
            f"SentenceTransformer(device='cpu'), PyTorch backend, {precision.upper()}, "
            f"default batch size 32, max_seq_length={max_length}",
            precision,
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Encode as a user would; the library sorts by the number of characters."""
        chosen = {} if batch_size is None else {"batch_size": batch_size}
        return self._model.encode(texts, show_progress_bar=False, **chosen)

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Return the library's array in FP32."""
        return protocol.Embeddings(dense=results.astype("float32"))

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the library's own tokenizer."""
        encoded = self._model.tokenizer(
            texts, truncation=True, max_length=self._model.max_seq_length
        )
        return sum(map(len, encoded["input_ids"]))

    def _count(self, _module: Any, arguments: Any) -> None:
        assert self.computed_tokens is not None
        self.computed_tokens += arguments[0]["input_ids"].numel()


if __name__ == "__main__":
    protocol.serve(SentenceTransformers())
