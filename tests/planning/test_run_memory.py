"""What a run is predicted to take is what the kernel counts."""

from __future__ import annotations

import pytest

from bgem3_bench.run_memory import measure_runs
from bgem3_export.manifest import Manifest
from bgem3_export.planning.trunk_memory import TrunkMemory
from bgem3_export.planning.workspaces import Processor

THREADS = 2
BATCHES = ([1500], [100] * 15, [400] * 3, [600, 40, 40, 200, 40])


def test_predictions_are_within_15_percent_of_the_measurements(demo_graph, demo_repository):
    hidden_size = Manifest.read(demo_repository).model.hidden_size
    memory = TrunkMemory(demo_graph, "cpu", Processor.here(THREADS), 8192)
    measured = measure_runs(demo_graph, BATCHES, THREADS)
    predicted = [memory.run_bytes(batch, hidden_size) for batch in BATCHES]

    assert measured == pytest.approx(predicted, rel=0.15)
