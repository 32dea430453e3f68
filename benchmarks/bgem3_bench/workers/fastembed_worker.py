"""FastEmbed with a model of one's own: Optimum's ONNX export in its serving code; dense."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from bgem3_bench.workers import worker_protocol as protocol
else:
    import worker_protocol as protocol

_NAME: Final = "bgem3-bench/checkpoint"


class FastEmbed(protocol.System):
    """``TextEmbedding`` with ``add_custom_model``.

    Options: ``files``, the folder of Optimum's export.
    """

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> protocol.Loaded:
        """Register the export and load it."""
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        hidden = json.loads((checkpoint / "config.json").read_bytes())["hidden_size"]
        TextEmbedding.add_custom_model(
            model=_NAME,
            pooling=PoolingType.CLS,
            normalization=True,
            sources=ModelSource(hf=_NAME),
            dim=hidden,
            model_file="model.onnx",
            additional_files=["model.onnx_data"],
        )
        self._model = TextEmbedding(
            _NAME,
            threads=threads,
            specific_model_path=options["files"],
            providers=["CPUExecutionProvider"],
        )
        # Its tokenizer cuts where tokenizer_config.json says, which is BGE-M3's 8,192.
        self._tokenizer = self._model.model.tokenizer
        self._tokenizer.enable_truncation(max_length)
        self.computed_tokens = 0
        self._count_tokens_of(self._model.model)
        return protocol.Loaded(
            protocol.versions("fastembed", "onnxruntime"),
            "TextEmbedding.add_custom_model with Optimum's export, CPU provider, FP32, default "
            "batch size 256, texts in the order given",
            "fp32",
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> Any:
        """Encode as a user would; the library does not sort."""
        chosen = {} if batch_size is None else {"batch_size": batch_size}
        return list(self._model.embed(texts, **chosen))

    def embeddings(self, results: Any, outputs: frozenset[str]) -> protocol.Embeddings:
        """Stack the vectors."""
        return protocol.Embeddings(dense=np.stack(results).astype(np.float32))

    def count_tokens(self, texts: list[str]) -> int | None:
        """Count with the library's own tokenizer, which pads: the mask tells what is real."""
        return sum(sum(self._tokenizer.encode(text).attention_mask) for text in texts)

    def _count_tokens_of(self, model: Any) -> None:
        """Let every run of the graph be counted."""
        run = model.model.run

        def counted(names: Any, inputs: Mapping[str, Any], *rest: Any) -> Any:
            assert self.computed_tokens is not None
            self.computed_tokens += inputs["input_ids"].size
            return run(names, inputs, *rest)

        model.model.run = counted


if __name__ == "__main__":
    protocol.serve(FastEmbed())
