"""The simulated arena takes what ONNX Runtime's takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bgem3_export.planning.arena import Arena
from bgem3_export.planning.execution import Runner
from bgem3_export.planning.trunk_memory import read_graph
from bgem3_export.planning.workspaces import Processor

THREADS = 2
MIB = 1 << 20

# Runs batches behind each other and tells, on standard error, when each of them begins.
RUN = """
import json, sys
import numpy as np
import onnxruntime

onnxruntime.set_default_logger_severity(1)
options = onnxruntime.SessionOptions()
options.enable_mem_pattern = False
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
shrink = onnxruntime.RunOptions()
shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
for lengths in json.loads(sys.argv[3]):
    print("BATCH", file=sys.stderr, flush=True)
    feeds = {
        "input_ids": np.full(sum(lengths), 5, np.int32), "lengths": np.array(lengths, np.int32)
    }
    session.run(None, feeds, shrink)
"""


def regions_of_onnx_runtime(graph: Path, lengths: list[int]) -> list[int]:
    """Bytes of each region that the arena asks for, from ONNX Runtime's log."""
    # Twice a tiny one first: then the arena is as it is before any run.
    batches = f"[[8], [8], {lengths}]"
    run = subprocess.run(
        [sys.executable, "-c", RUN, graph, str(THREADS), batches],
        capture_output=True,
        text=True,
        check=True,
    )
    log = run.stderr.rpartition("BATCH")[2]
    return [int(size) for size in re.findall(r"Extended allocation by (\d+) bytes", log)]


@pytest.mark.parametrize(
    "lengths",
    [[1200], [100] * 12, [400, 30, 200], [64] * 8],
    ids=lambda lengths: f"{len(lengths)}_texts",
)
def test_the_regions_are_those_of_onnx_runtimes_log(demo_graph, lengths):
    arena = Arena("kNextPowerOfTwo")
    Runner(arena, "cpu", Processor.here(THREADS)).run(read_graph(demo_graph).shaped(lengths))

    # The first one is there before the run.
    assert regions_of_onnx_runtime(demo_graph, lengths) == arena.regions[1:]


def test_regions_grow_by_powers_of_two():
    arena = Arena("kNextPowerOfTwo")
    for size in (3 * MIB, MIB // 2, 3 * MIB, 20 * MIB):
        arena.allocate(size)

    assert [MIB, 4 * MIB, 4 * MIB, 32 * MIB] == arena.regions
    assert 41 * MIB == arena.reserved_bytes
    assert 26.5 * MIB == arena.touched_bytes


def test_regions_are_as_large_as_asked_for():
    arena = Arena("kSameAsRequested")
    for size in (3 * MIB, 1000):
        arena.allocate(size)

    assert [3 * MIB, 1024] == arena.regions


def test_what_is_freed_is_used_again_and_holes_grow_together():
    arena = Arena("kSameAsRequested")
    whole = arena.allocate(4 * MIB)
    arena.free(whole)
    first, second = arena.allocate(MIB), arena.allocate(MIB)
    arena.free(first)
    arena.free(second)
    arena.allocate(4 * MIB)

    assert [4 * MIB] == arena.regions


def test_a_chunk_less_than_twice_as_large_is_handed_out_whole():
    """So the next one finds no room, though there is some."""
    arena = Arena("kSameAsRequested")
    arena.free(arena.allocate(3 * MIB))
    arena.allocate(2 * MIB)
    arena.allocate(MIB)

    assert [3 * MIB, MIB] == arena.regions
    assert 4 * MIB == arena.touched_bytes


def test_nothing_takes_nothing():
    arena = Arena("kSameAsRequested")

    assert arena.allocate(0) is None
    assert [] == arena.regions
