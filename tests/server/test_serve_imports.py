"""What watches Triton stays small."""

from __future__ import annotations

import subprocess
import sys


def test_serving_loads_no_torch() -> None:
    """It is for the models' own processes: over 100 MB, and not installed with every server."""
    code = (
        "import sys, bgem3_server.commands, bgem3_server.serving, bgem3_server.models.command, "
        "bgem3_server.models.changes, bgem3_server.doctor.command\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'openvino'} & sys.modules.keys()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout

    assert "[]" == printed.strip()
