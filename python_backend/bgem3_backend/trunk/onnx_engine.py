"""The exported graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnxruntime

from bgem3_backend.contract import COLBERT_ROWS, INPUT_IDS, LENGTHS
from bgem3_backend.packed_texts import Int32Array
from bgem3_backend.trunk.engine import TRUNK_OUTPUTS, EngineDescription, Output

_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ARENAS: Final = {"cpu": "cpu:0", "cuda": "gpu:0"}


class OnnxEngine:
    """Runs ``model.onnx`` in the precision that it was exported in."""

    def __init__(self, graph: Path, threads: int, device: Literal["cpu", "cuda"] = "cpu") -> None:
        """Load the graph.

        Args:
            graph: The exported ``model.onnx``, its data file beside it.
            threads: For the linear layers and attention.
            device: Where to run it; "cuda" needs the onnxruntime-gpu package.

        Raises:
            ValueError: This ONNX Runtime cannot use that device.
        """
        provider = _PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise ValueError(
                f"ONNX Runtime has no {provider} here; it has "
                f"{', '.join(onnxruntime.get_available_providers())}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads that spin would take the cores from the tokenizer and the heads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The lengths differ from batch to batch, so a remembered layout never fits.
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=[provider])
        # Of the graph for Triton's own backend, which wants to know how many rows are whose.
        self._measures_rows = COLBERT_ROWS.name in {one.name for one in self._session.get_inputs()}
        # Hand back what a long text took, instead of keeping the peak for ever.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry(
            "memory.enable_memory_arena_shrinkage", _ARENAS[device]
        )
        self.description = EngineDescription("onnxruntime-fp32", onnxruntime.__version__, threads)

    def run(
        self, input_ids: Int32Array, lengths: Int32Array, outputs: Sequence[str] = TRUNK_OUTPUTS
    ) -> tuple[Output, ...]:
        """See :meth:`TrunkEngine.run`."""
        inputs = {INPUT_IDS.name: input_ids, LENGTHS.name: lengths}
        if self._measures_rows:
            inputs[COLBERT_ROWS.name] = np.arange(input_ids.size - lengths.size, dtype=np.int32)
        return tuple(self._session.run(list(outputs), inputs, self._run_options))
