"""Finding a perf_analyzer that starts; nothing is fetched here."""

import pytest
from perf_analyzer_binary import PerfAnalyzerError, find_perf_analyzer


@pytest.fixture
def make_program(tmp_path):
    """Return a function that writes a program called perf_analyzer with this shell script."""

    def make(script: str):
        program = tmp_path / "perf_analyzer"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return make


def test_the_one_on_path_is_taken(make_program, monkeypatch):
    """It runs in the environment as it is."""
    program = make_program("exit 0")
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")

    found = find_perf_analyzer()

    assert program == found.program
    assert "/somewhere" == found.environment()["LD_LIBRARY_PATH"]


def test_a_missing_library_is_named_with_its_package(make_program):
    """What the loader says is turned into what to do."""
    program = make_program(
        'echo "perf_analyzer: error while loading shared libraries: libb64.so.0d: cannot open '
        'shared object file" >&2; exit 127'
    )

    with pytest.raises(PerfAnalyzerError, match="apt-get install libb64-0d"):
        find_perf_analyzer(program)


def test_a_program_that_is_not_there(tmp_path):
    """The setting is not silently replaced by another program."""
    with pytest.raises(PerfAnalyzerError, match="cannot be run: No such file"):
        find_perf_analyzer(tmp_path / "nowhere")
