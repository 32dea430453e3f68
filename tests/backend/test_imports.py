"""What each model's process has to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORTED = """
import sys
from triton_utilities import triton_utilities
sys.modules["triton_python_backend_utils"] = triton_utilities()
import bgem3_backend.models.{module}
print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("module", "with_torch"),
    [("tokenizer", False), ("token_texts", False), ("cpu_trunk", False), ("sparse", True)],
)
def test_only_heads_have_torch_in_their_process(module, with_torch):
    """It would take the others 100 MB and a second of their start."""
    finished = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(module=module)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"{with_torch}\n" == finished.stdout
