"""Finding a perf_analyzer that starts; nothing is fetched here."""

import platform
from pathlib import Path

import pytest

from bgem3_bench.perf import binary
from bgem3_bench.perf.binary import find_perf_analyzer
from bgem3_bench.perf.errors import PerfAnalyzerMissingError


def test_the_one_on_path_is_taken(make_perf_analyzer, monkeypatch):
    """It runs in the environment as it is."""
    program = make_perf_analyzer("echo 'Perf Analyzer Version 2.60.0' >&2")
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")

    found = find_perf_analyzer()

    assert (program, "on PATH") == (found.program, found.origin)
    assert "Perf Analyzer Version 2.60.0" == found.version
    assert "/somewhere" == found.environment()["LD_LIBRARY_PATH"]


def test_the_setting_comes_before_the_path(make_perf_analyzer, tmp_path, monkeypatch):
    """A relative one too: perf_analyzer runs in a folder of its own."""
    monkeypatch.setenv("PATH", str(make_perf_analyzer("exit 0").parent), prepend=":")
    make_perf_analyzer("exit 0", name="mine")
    monkeypatch.chdir(tmp_path)

    assert tmp_path / "mine" == find_perf_analyzer(Path("mine")).program


def test_a_missing_library_is_named_with_its_package(make_perf_analyzer):
    """What the loader says is turned into what to do."""
    program = make_perf_analyzer(
        'echo "perf_analyzer: error while loading shared libraries: libb64.so.0d: cannot open '
        'shared object file" >&2; exit 127'
    )

    with pytest.raises(PerfAnalyzerMissingError, match=r"start: libb64[^$]*install libb64-0d"):
        find_perf_analyzer(program)


def test_a_program_that_is_not_there(tmp_path):
    """The setting is not silently replaced by another program."""
    with pytest.raises(PerfAnalyzerMissingError, match="cannot be run: No such file"):
        find_perf_analyzer(tmp_path / "nowhere")


def test_a_program_that_fails(make_perf_analyzer):
    """What it says is passed on."""
    with pytest.raises(PerfAnalyzerMissingError, match="ended with 3: no such thing"):
        find_perf_analyzer(make_perf_analyzer("echo no such thing >&2; exit 3"))


def test_a_program_that_hangs(make_perf_analyzer, monkeypatch):
    """It is not waited for."""
    monkeypatch.setattr(binary, "_START_SECONDS", 0.2)

    with pytest.raises(PerfAnalyzerMissingError, match=r"did not end within 0\.2 s"):
        find_perf_analyzer(make_perf_analyzer("exec sleep 60"))


def test_where_none_can_be_fetched_the_ways_to_get_one_are_told(monkeypatch, tmp_path):
    """The wheel is for Linux x86-64."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    with pytest.raises(PerfAnalyzerMissingError) as missing:
        find_perf_analyzer()

    message = str(missing.value)
    assert "Linux aarch64" in message
    assert all(way in message for way in ("tritonclient==2.50.0", "py3-sdk", "BGEM3_PERF_ANALYZER"))
