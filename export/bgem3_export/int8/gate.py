"""Holds an INT8 trunk to the checkpoint, in the engine that will serve it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bgem3_backend.settings import BackendSettings
from bgem3_backend.trunk.openvino_engine import OpenVinoEngine
from bgem3_export.checkpoint import Checkpoint
from bgem3_export.int8.linear_layers import LinearLayer
from bgem3_export.int8.report import LIMITS, QuantizationReport
from bgem3_export.parity import Differences, exported_representations, packed_reference_texts
from bgem3_export.reference import Reference


class Gate:
    """The reference texts, as the checkpoint represents them."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        reference: Reference,
        tokenizer_file: Path,
        heads: dict[str, Path],
        on_text: Callable[[int, int], None],
    ) -> None:
        """Compute what is expected.

        Args:
            checkpoint: What the export was made from.
            reference: The same in PyTorch.
            tokenizer_file: The exported one.
            heads: The exported files of "sparse" and "colbert".
            on_text: Called with (texts computed, texts in all).
        """
        self._checkpoint = checkpoint
        self._heads = heads
        self._packed = packed_reference_texts(checkpoint, tokenizer_file)
        texts = np.split(self._packed.input_ids, self._packed.starts[1:])
        self._expected = []
        for number, text in enumerate(texts):
            self._expected.append(reference(text))
            on_text(number + 1, len(texts))

    def judge(
        self, graph: Path, layers: Sequence[LinearLayer], fp32_layers: Sequence[LinearLayer]
    ) -> QuantizationReport:
        """Run the INT8 graph on all texts in one mixed batch, and compare.

        Args:
            graph: ``model.int8.onnx``.
            layers: All linear layers of the trunk.
            fp32_layers: Those of them that the graph has in FP32.
        """
        engine = OpenVinoEngine(graph, BackendSettings().trunk_threads, "openvino-int8")
        actual = exported_representations(
            engine, self._checkpoint, self._packed, self._heads, "cpu"
        )
        differences = Differences()
        for was, now in zip(self._expected, actual, strict=True):
            differences.add(was, now)
        largest = max(max(text.sparse.values(), default=0.0) for text in self._expected)
        fp32_share = sum(layer.multiplications for layer in fp32_layers) / sum(
            layer.multiplications for layer in layers
        )
        return QuantizationReport(
            engine=str(engine.description),
            texts=len(self._expected),
            tokens=int(self._packed.input_ids.size),
            int8_share=1 - fp32_share,
            fp32_layers=tuple(layer.name for layer in fp32_layers),
            dense_cosine=differences.smallest_cosine("dense"),
            # Without any weight, nothing is allowed to have one.
            sparse_difference=differences.largest_difference("sparse") / (largest or 1.0),
            colbert_cosine=differences.smallest_cosine("colbert"),
            limits=LIMITS,
        )
