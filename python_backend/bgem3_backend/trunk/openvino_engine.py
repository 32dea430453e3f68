"""The exported graph in OpenVINO: in BF16 where the processor multiplies it, in INT8 or FP32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset13

from bgem3_backend.contract import INPUT_IDS, LENGTHS
from bgem3_backend.packed_texts import Int32Array
from bgem3_backend.trunk.engine import TRUNK_OUTPUTS, EngineDescription, Output
from bgem3_backend.trunk.int8 import GATE_PROPERTY

# Values inside the graph, by the names that the export gives them.
WORDS: Final = "words"
"""[T, H]: the rows of the embedding table."""
SINGLE_TEXT: Final = "single_text"
"""Whether the batch is one text: chooses between two forms of attention."""

# In the INT8 graph the multiplications to be INT8 are marked; the hint is for the others, and the
# accuracy was measured with them in FP32.
_PRECISIONS: Final = {"openvino-bf16": "bf16", "openvino-fp32": "f32", "openvino-int8": "f32"}

# What one run may leave behind in the engine's pools. A batch of the usual size takes less, and
# keeps it; what a long text took is given back.
_KEPT_TOKENS: Final = 1024


# Kinds of operation and shape that the engine keeps code for. Hardly two batches have the same
# shape, and with OpenVINO's own limit (5,000) what was kept grew to over 1 GB in half an hour of
# mixed texts. With this one it stays at a fifth, and nothing is slower: what comes again at once,
# queries of one length, is still there.
_KEPT_SHAPES: Final = 250


class OpenVinoEngine:
    """Runs ``model.onnx``, changed in two places while it is read.

    The embedding table stays outside, in the mapped file: OpenVINO would make a copy of it (1 GB
    for BGE-M3), and a batch needs some hundred of its 250,002 rows. And attention always takes the
    masked form: OpenVINO computes both in blocks, without an L x L matrix, and is faster without a
    condition in every layer.
    """

    def __init__(
        self,
        graph: Path,
        threads: int,
        name: Literal["openvino-bf16", "openvino-fp32", "openvino-int8"],
    ) -> None:
        """Load the graph.

        Args:
            graph: The exported ``model.onnx``, or ``model.int8.onnx`` for INT8, the data files
                beside it.
            threads: For the linear layers and attention.
            name: The precision of the matrix multiplications; layer norms and the sums along the
                residual stream are FP32 in either.

        Raises:
            RuntimeError: OpenVINO cannot read or compile it.
        """
        self._model = openvino.Core().read_model(graph)
        self.passed_gate: bool = self._model.has_rt_info(["framework", GATE_PROPERTY])
        """Of an INT8 graph: whether the export found it accurate enough to be served."""
        self._table = _take_words_out(self._model)
        _replace(self._model, SINGLE_TEXT, opset13.constant(np.array(False)).output(0))
        self._options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[name],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # The cores are shared with the tokenizer and the heads; in a container the first ones
            # need not be ours.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_SHAPES,
        }
        self._compiled: openvino.CompiledModel | None = self._compile()
        version = openvino.__version__.split("-")[0]
        self.description = EngineDescription(name, version, threads)

    def run(
        self, input_ids: Int32Array, lengths: Int32Array, outputs: Sequence[str] = TRUNK_OUTPUTS
    ) -> tuple[Output, ...]:
        """See :meth:`TrunkEngine.run`."""
        compiled = self._compiled = self._compiled or self._compile()
        inputs = {WORDS: self._table[input_ids], INPUT_IDS.name: input_ids, LENGTHS.name: lengths}
        try:
            answer = compiled(inputs, share_inputs=True, share_outputs=True)
        except RuntimeError:
            # Out of memory, say. The compiled graph keeps the shapes that it had got to, and would
            # refuse every batch from now on.
            self._compiled = None
            raise
        # What it gives is overwritten by its next run; copied is what somebody wants.
        wanted = tuple(answer[name].copy() for name in outputs)
        if input_ids.size > _KEPT_TOKENS:
            compiled.release_memory()
        return wanted

    def _compile(self) -> openvino.CompiledModel:
        return openvino.Core().compile_model(self._model, "CPU", self._options)


def _take_words_out(model: openvino.Model) -> npt.NDArray[np.floating[Any]]:
    """Make :data:`WORDS` an input of the model and return the table that gave it: [V, H]."""
    gather = _value(model, WORDS).get_node()
    table: npt.NDArray[np.floating[Any]] = gather.input_value(0).get_node().data
    words = opset13.parameter(
        openvino.PartialShape([-1, table.shape[1]]), table.dtype.type, name=WORDS
    )
    words.output(0).get_tensor().set_names({WORDS})
    gather.output(0).get_tensor().set_names(set())
    for reader in list(gather.output(0).get_target_inputs()):
        reader.replace_source_output(words.output(0))
    model.add_parameters([words])
    return table


def _replace(model: openvino.Model, name: str, value: openvino.Output) -> None:
    for reader in list(_value(model, name).get_target_inputs()):
        reader.replace_source_output(value)


def _value(model: openvino.Model, name: str) -> openvino.Output:
    for node in model.get_ops():
        for output in node.outputs():
            if name in output.get_names():
                return output
    raise RuntimeError(f"the graph has no value '{name}': it was exported by another release")
