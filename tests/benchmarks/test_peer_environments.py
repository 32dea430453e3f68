"""Environments of the peers, with a package small enough to install in a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bgem3_bench.peers import PEERS, Unavailable, install_peers, worker_command
from bgem3_bench.peers import environments as module
from bgem3_bench.peers import prepared_files as prepared_files_module
from bgem3_bench.peers.catalogue import Preparation, Requirements
from bgem3_bench.peers.environments import Environment, install, installed
from bgem3_bench.peers.prepared_files import prepared_files

TINY = Requirements("tiny", ("tiny-peer==1.0",), size_bytes=1_000_000, removed=("tiny-ballast",))
INSTALL = """
import sys
from bgem3_bench.peers.environments import install
from bgem3_bench.peers.catalogue import Requirements
print(install(eval(sys.argv[1]), print).folder)
"""


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A cache folder of the test's own, and a registry with two tiny packages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    # Settings of this machine's own, which may name other places.
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("tiny_peer", "tiny_ballast"):
        requires = "Requires-Dist: tiny-ballast\n" if name == "tiny_peer" else ""
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", f"NAME = '{name}'\n")
            folder = f"{name}-1.0.dist-info"
            wheel.writestr(
                f"{folder}/METADATA",
                f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n{requires}",
            )
            wheel.writestr(
                f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(
                f"{folder}/RECORD", f"{name}.py,,\n{folder}/METADATA,,\n{folder}/WHEEL,,\n"
            )
    return tmp_path


def imported(environment, name):
    return subprocess.run(
        [environment.python, "-c", f"import {name}; print({name}.NAME)"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_installations_at_once_make_one_environment(registry):
    """One installs, the other waits for it; afterwards it is there at once.

    What is to be removed is gone: a package that the peer requires and does better without.
    """
    command = [sys.executable, "-c", INSTALL, repr(TINY)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].splitlines() for process in both]

    assert 1 == len({lines[-1] for lines in printed})
    assert ["tiny: installing tiny-peer==1.0"] == [line for lines in printed for line in lines[:-1]]
    begin = time.perf_counter()
    environment = install(TINY, pytest.fail)
    assert time.perf_counter() - begin < 1
    assert "tiny_peer\n" == imported(environment, "tiny_peer").stdout
    assert "No module named 'tiny_ballast'" in imported(environment, "tiny_ballast").stderr
    assert ("tiny-peer==1.0",) == environment.packages


def test_a_failed_installation_says_why_and_leaves_nothing_behind(registry):
    """The sentence of pip, and where the rest of what it said is."""
    result = install(replace(TINY, packages=("no-such-peer==1.0",)), lambda _: None)

    assert isinstance(result, Unavailable)
    assert result.reason.startswith("pip could not install no-such-peer==1.0: ")
    assert "No matching distribution found for no-such-peer==1.0" in result.reason
    assert result.log is not None
    assert "no-such-peer" in result.log.read_text()
    assert f"(log: {result.log})" in str(result)
    assert [] == [path for path in result.log.parent.iterdir() if path.is_dir()]


def test_an_installation_that_was_broken_off_is_none(registry):
    """Complete is what has its marker."""
    half = module._folder(TINY)
    (half / "bin").mkdir(parents=True)

    assert isinstance(installed(TINY), Unavailable)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"oldest_python": (3, 99), "python_below": (4, 0)}, "needs Python 3.99 or later"),
        ({"size_bytes": 10**18}, "takes about 1000000000.0 GB"),
    ],
)
def test_what_cannot_succeed_is_not_tried(registry, changes, words):
    """Another Python, or no room: the reason at once."""
    result = install(replace(TINY, **changes), pytest.fail)

    assert isinstance(result, Unavailable)
    assert words in str(result)


def test_peers_that_share_an_environment_are_installed_once(monkeypatch):
    """And what cannot be had is a reason among the results."""
    asked = []

    def install(requirements, on_progress):
        asked.append(requirements.name)
        return Environment(requirements.name, Path("/somewhere"))

    monkeypatch.setattr(module, "install", install)

    results = install_peers(["vllm", "ollama", "vllm-bf16"], lambda _: None)

    assert ["vllm"] == asked
    assert ["vllm", "ollama", "vllm-bf16"] == list(results)
    assert PEERS["ollama"].unavailable == str(results["ollama"])


@pytest.fixture
def preparation(tmp_path, monkeypatch):
    """A preparation that runs in this interpreter, and the script that it will run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prepared_files_module, "WORKERS_FOLDER", tmp_path)
    folder = module._folder(TINY)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "complete.txt").write_text("tiny-peer==1.0\n")
    script = tmp_path / "tiny_files.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "checkpoint, folder, *rest = map(pathlib.Path, sys.argv[1:])\n"
        "words = [path.name for path in (checkpoint, *rest)]\n"
        "(folder / 'made').write_text(' '.join([*words, os.environ['HF_HUB_OFFLINE']]))\n"
    )
    return Preparation("tiny", "tiny_files.py", TINY)


def checkpoint_of(folder, weights):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_files_are_prepared_once_for_what_a_checkpoint_holds(preparation, tmp_path):
    """A copy of it needs no others; other weights do."""
    steps = []
    first, copy, other = (
        prepared_files(preparation, checkpoint_of(tmp_path / name, weights), steps.append)
        for name, weights in (("first", b"1"), ("copy", b"1"), ("other", b"2"))
    )

    assert first == copy != other
    assert ["tiny: preparing the files of first", "tiny: preparing the files of other"] == steps
    assert "first 1" == (first / "made").read_text()


def test_files_can_be_made_of_other_files(preparation, tmp_path):
    """The source's folder comes third."""
    made = prepared_files(
        replace(preparation, name="second", source=preparation),
        checkpoint_of(tmp_path / "checkpoint", b"1"),
        lambda _: None,
    )

    name, source, _ = (made / "made").read_text().split()
    assert "checkpoint" == name
    assert source.startswith("tiny-")


def test_files_that_cannot_be_prepared_are_a_reason(preparation, tmp_path):
    """With the program's last words, and nothing half-made left behind."""
    (tmp_path / "tiny_files.py").write_text("raise ValueError('13 layers')\n")

    result = prepared_files(
        preparation, checkpoint_of(tmp_path / "checkpoint", b"1"), lambda _: None
    )

    assert isinstance(result, Unavailable)
    assert "tiny_files.py could not prepare checkpoint: ValueError: 13 layers" == result.reason
    assert result.log is not None
    assert [] == [path for path in result.log.parent.iterdir() if path.is_dir()]


def test_a_worker_is_started_apart_from_this_environment(monkeypatch, tmp_path):
    """By its own Python, off-line, without paths of ours; peers' options go along."""
    environment = Environment("sentence-transformers", tmp_path)
    monkeypatch.setattr("bgem3_bench.peers.commands.environment", lambda _: environment)

    command = worker_command("sentence-transformers-bf16", tmp_path, pytest.fail)

    assert str(tmp_path / "bin" / "python") == command.arguments[0]
    assert "sentence_transformers_worker.py" == Path(command.arguments[1]).name
    assert {"precision": "bf16"} == command.options
    assert ("1", "") == (command.environment["HF_HUB_OFFLINE"], command.environment["PYTHONPATH"])
