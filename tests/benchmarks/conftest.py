"""The scripts beside the package, and programs that stand in for perf_analyzer."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture
def make_perf_analyzer(tmp_path):
    """Return a function that writes a program with this shell script."""

    def make(script: str, name: str = "perf_analyzer") -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make
