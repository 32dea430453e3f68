"""The exported graph in this process, by ONNX Runtime, fed within a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from bgem3_backend.contract import DENSE, HIDDEN_STATES, INPUT_IDS, LENGTHS
from bgem3_backend.microbatches import plan_microbatches
from bgem3_backend.packed_texts import Int32Array, PackedTexts

_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ARENAS: Final = {"cpu": "cpu:0", "cuda": "gpu:0"}


@dataclass(frozen=True)
class TrunkOutput:
    """What the trunk gives one request.

    Attributes:
        dense: FP32 [N, H], L2-normalised.
        hidden_states: FP32 or FP16 [T, H].
    """

    dense: npt.NDArray[np.float32]
    hidden_states: npt.NDArray[np.floating[Any]]

    @property
    def is_finite(self) -> bool:
        """Whether every number is.

        The heads look at the hidden states too; but what one step refuses, two cannot refuse at
        once, which Triton 24.10 does not bear.
        """
        return bool(np.isfinite(self.dense).all() and np.isfinite(self.hidden_states).all())


class OnnxTrunk:
    """Runs ``model.onnx`` with bounded memory, whatever the lengths."""

    def __init__(
        self,
        graph: Path,
        threads: int,
        microbatch_tokens: int,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        """Load the graph.

        Args:
            graph: The exported ``model.onnx``, its data file beside it.
            threads: For the linear layers and attention.
            microbatch_tokens: See :func:`plan_microbatches`.
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
        # Hand back what a long text took, instead of keeping the peak for ever.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry(
            "memory.enable_memory_arena_shrinkage", _ARENAS[device]
        )
        self._microbatch_tokens = microbatch_tokens

    def run(
        self, requests: Sequence[PackedTexts], on_microbatch: Callable[[int, int], None]
    ) -> Iterator[tuple[int, TrunkOutput]]:
        """Compute a batch of requests, whose texts are grouped by length across all of them.

        Args:
            requests: Checked requests, possibly none.
            on_microbatch: Called with the tokens computed, and with them counted with the padding
                inside attention.

        Yields:
            (position in ``requests``, its output), each as soon as its last text is done.
        """
        if not requests:
            return
        lengths = np.concatenate([request.lengths for request in requests])
        owners = np.repeat(np.arange(len(requests)), [r.lengths.size for r in requests])
        numbers = np.concatenate([np.arange(r.lengths.size) for r in requests])
        starts = [request.starts for request in requests]
        left = [int(request.lengths.size) for request in requests]
        outputs: dict[int, TrunkOutput] = {}

        for group in plan_microbatches(lengths, self._microbatch_tokens):
            group_lengths = lengths[group]
            rows = [
                slice(starts[owner][number], starts[owner][number] + length)
                for owner, number, length in zip(
                    owners[group], numbers[group], group_lengths, strict=True
                )
            ]
            input_ids = np.concatenate(
                [
                    requests[owner].input_ids[row]
                    for owner, row in zip(owners[group], rows, strict=True)
                ]
            )
            dense, hidden_states = self._run_graph(input_ids, group_lengths)
            on_microbatch(input_ids.size, group.size * int(group_lengths.max()))

            begin = 0
            for position, (text, row) in enumerate(zip(group, rows, strict=True)):
                owner = int(owners[text])
                length = row.stop - row.start
                if owner not in outputs:
                    outputs[owner] = self._empty_output(requests[owner], hidden_states)
                outputs[owner].dense[numbers[text]] = dense[position]
                outputs[owner].hidden_states[row] = hidden_states[begin : begin + length]
                begin += length
                left[owner] -= 1
                if left[owner] == 0:
                    yield owner, outputs.pop(owner)

    def _run_graph(
        self, input_ids: Int32Array, lengths: Int32Array
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.floating[Any]]]:
        dense, hidden_states = self._session.run(
            [DENSE.name, HIDDEN_STATES.name],
            {INPUT_IDS.name: input_ids, LENGTHS.name: lengths},
            self._run_options,
        )
        return dense, hidden_states

    @staticmethod
    def _empty_output(request: PackedTexts, like: npt.NDArray[np.floating[Any]]) -> TrunkOutput:
        size = like.shape[1]
        return TrunkOutput(
            np.empty((request.lengths.size, size), np.float32),
            np.empty((request.input_ids.size, size), like.dtype),
        )
