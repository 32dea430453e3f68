"""What single runs of a graph take of memory in ONNX Runtime on a CPU, by the kernel's count.

``python -m bgem3_bench.run_memory GRAPH`` reads batches from standard input, as JSON: a list of
lists of lengths. It answers with the bytes that each takes above the loaded graph.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from bgem3_backend.contract import INPUT_IDS, LENGTHS
from bgem3_bench.process_memory import process_memory, reset_peak

# The C library raises this by itself, and then keeps for good what it should give back.
_ALWAYS_GIVE_BACK: Final = {"MALLOC_MMAP_THRESHOLD_": "131072"}
# Few words, so that few pages of the mapped embedding table are read.
_WORDS: Final = (5, 100)


def measure_runs(graph: Path, batches: Sequence[Sequence[int]], threads: int) -> list[int]:
    """Return what each batch takes above the loaded graph, in bytes, in a process of its own.

    Args:
        graph: ``model.onnx``, its data file beside it.
        batches: For each, the tokens of its texts.
        threads: Of a run.

    Raises:
        subprocess.CalledProcessError: A run failed; its message is on standard error.
    """
    run = subprocess.run(
        [sys.executable, "-m", "bgem3_bench.run_memory", str(graph), str(threads)],
        input=json.dumps([list(batch) for batch in batches]),
        env={**os.environ, **_ALWAYS_GIVE_BACK},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    sizes: list[int] = json.loads(run.stdout)
    return sizes


class _Session:
    """The graph as the CPU trunk runs it: no spinning, the arena emptied after each run."""

    def __init__(self, graph: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, lengths: Sequence[int]) -> None:
        ids = np.random.default_rng(0).integers(*_WORDS, sum(lengths))
        feeds = {INPUT_IDS.name: ids.astype(np.int32), LENGTHS.name: np.array(lengths, np.int32)}
        self._session.run(None, feeds, self._options)

    def measure(self, lengths: Sequence[int]) -> int:
        """Return what a run takes, pages of the mapped weights left out."""
        pid = os.getpid()
        # The answer of the run before was still there when the arena was emptied.
        self.run([8])
        self.run([8])
        before = process_memory(pid)
        reset_peak(pid)
        self.run(lengths)
        after = process_memory(pid)
        read = after.file_bytes - before.file_bytes
        return after.peak_bytes - before.resident_bytes - read


def _main() -> None:
    batches = json.load(sys.stdin)
    session = _Session(sys.argv[1], int(sys.argv[2]))
    # The first runs set up what all others use: threads, code, packed weights of both branches.
    for lengths in ([16], [16, 16]):
        session.run(lengths)
    json.dump([session.measure(lengths) for lengths in batches], sys.stdout)


if __name__ == "__main__":
    _main()
