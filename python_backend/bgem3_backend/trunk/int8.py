"""The INT8 trunk: its file, and the proof that it may be served."""

from __future__ import annotations

from pathlib import Path
from typing import Final

INT8_GRAPH_FILE: Final = "model.int8.onnx"
"""Written by an export beside ``model.onnx``."""

GATE_PROPERTY: Final = "bgem3_accuracy_gate"
"""The graph's metadata entry that holds what the gate found: only a trunk that passed has it."""


def int8_graph(graph: Path) -> Path | None:
    """Return what is to be loaded in place of a graph for INT8; None where there is nothing.

    Args:
        graph: What would be loaded otherwise. Only ``model.onnx`` is exported in INT8, and no graph
            that has the heads inside.
    """
    path = graph.with_name(INT8_GRAPH_FILE)
    return path if graph.name == "model.onnx" and path.is_file() else None
