"""This package without a server: tokenizer, trunk and heads in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bgem3_bench.workers.worker_protocol import (
    Embeddings,
    Loaded,
    System,
    Unsupported,
    merged,
    serve,
    versions,
)


@dataclass(frozen=True)
class _Results:
    """Of all texts of a call; tensors of torch where there are heads."""

    dense: Any
    sparse: Any
    colbert: Any


class InProcess(System):
    """The steps of the ensemble, one after the other, on all texts of a call at once.

    Options: ``repository``, what `bgem3 export` has written; the trunk's ``engine``.
    """

    outputs = frozenset({"dense", "sparse", "colbert"})

    def load(
        self, checkpoint: Path, threads: int, max_length: int, options: Mapping[str, Any]
    ) -> Loaded:
        """Load the newest version of the repository."""
        import torch

        from bgem3_backend.colbert import ColbertHead
        from bgem3_backend.contract import COLBERT_HEAD, SPARSE, TOKENIZER, TRUNK
        from bgem3_backend.heads import LinearHead
        from bgem3_backend.sparse import SparseHead
        from bgem3_backend.text_tokenizer import TextTokenizer, Truncation
        from bgem3_bench.workers.own_trunk import ask_for_engine, load_trunk, precision_of
        from bgem3_export.manifest import Manifest

        torch.set_num_threads(threads)
        repository = Path(options["repository"])
        manifest = Manifest.read(repository)

        def file(model: str, name: str) -> Path:
            return repository / model / manifest.newest / name

        self._tokenizer = TextTokenizer(file(TOKENIZER.name, "tokenizer.json"))
        self._truncation = Truncation(max_length)
        ask_for_engine(options["engine"], threads)
        self._trunk = load_trunk(file(TRUNK.name, "model.onnx"))
        cpu = torch.device("cpu")
        self._sparse = SparseHead(
            LinearHead.load(file(SPARSE.name, "sparse_linear.safetensors"), cpu),
            manifest.model.ignored_token_ids,
            manifest.model.vocabulary_size,
        )
        self._colbert = ColbertHead(
            LinearHead.load(file(COLBERT_HEAD.name, "colbert_linear.safetensors"), cpu)
        )
        self.computed_tokens = self.attention_tokens = 0
        engine = self._trunk.engine.description
        return Loaded(
            {**versions("bgem3-triton", "torch"), engine.name.partition("-")[0]: engine.version},
            f"all texts in one call; the trunk's engine: {engine}",
            precision_of(engine.name),
        )

    def encode(self, texts: list[str], outputs: frozenset[str], batch_size: int | None) -> _Results:
        """Tokenize all, compute in groups of like length, and apply the heads."""
        import torch

        if batch_size is not None:
            raise Unsupported("the trunk groups texts by itself, within a budget of tokens")
        packed = self._tokenizer.pack(self._tokenizer.encode(texts), self._truncation).texts
        ((_, output),) = self._trunk.run([packed], self._count)
        if outputs == {"dense"}:
            return _Results(output.dense, None, None)
        states = torch.from_numpy(output.hidden_states)
        lengths = torch.from_numpy(packed.lengths)
        ids = torch.from_numpy(packed.input_ids)
        with torch.inference_mode():
            return _Results(
                output.dense,
                self._sparse(states, ids, lengths) if "sparse" in outputs else None,
                self._colbert(states, lengths) if "colbert" in outputs else None,
            )

    def embeddings(self, results: Any, outputs: frozenset[str]) -> Embeddings:
        """Return the tensors as arrays."""
        parts = [Embeddings(dense=results.dense if "dense" in outputs else None)]
        if (sparse := results.sparse) is not None:
            lengths = sparse.lengths.numpy().astype(np.int64)
            indices = sparse.indices.numpy().astype(np.int64)
            parts.append(Embeddings(None, indices, sparse.values.numpy(), lengths))
        if (colbert := results.colbert) is not None:
            lengths = colbert.lengths.numpy().astype(np.int64)
            parts.append(Embeddings(colbert=colbert.vectors.numpy(), colbert_lengths=lengths))
        return merged(parts)

    def count_tokens(self, texts: list[str]) -> int:
        """Count with the tokenizer that is served."""
        packed = self._tokenizer.pack(self._tokenizer.encode(texts), self._truncation)
        return int(packed.texts.lengths.sum())

    def _count(self, tokens: int, padded_tokens: int) -> None:
        assert self.computed_tokens is not None
        assert self.attention_tokens is not None
        self.computed_tokens += tokens
        self.attention_tokens += padded_tokens


if __name__ == "__main__":
    serve(InProcess())
