"""The catalogue of the peers, and the programs that it names."""

from __future__ import annotations

import ast
import importlib.util
import sys

import pytest

from bgem3_bench.peers import PEERS, Unavailable, environment, worker_command
from bgem3_bench.peers.prepared_files import WORKERS_FOLDER
from bgem3_bench.workers.worker_protocol import OUTPUTS

INSTALLABLE = [peer for peer in PEERS.values() if peer.requirements is not None]
FOREIGN_PROGRAMS = sorted(
    {
        WORKERS_FOLDER / "process_usage.py",
        WORKERS_FOLDER / "worker_protocol.py",
        WORKERS_FOLDER / "sentence_transformers_layout.py",
        *(WORKERS_FOLDER / peer.worker for peer in INSTALLABLE),
        *(
            WORKERS_FOLDER / preparation.script
            for peer in INSTALLABLE
            for preparation in (peer.preparation, peer.preparation and peer.preparation.source)
            if preparation
        ),
    }
)


def named(path):
    return path.stem


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_peer_can_be_run_or_says_why_not(peer):
    """And says what it is, in a table's words."""
    assert peer.title
    assert peer.what
    assert set(peer.outputs) <= OUTPUTS
    if peer.requirements is None:
        assert peer.unavailable
    else:
        assert peer.unavailable is None
        assert peer.defaults
        assert (WORKERS_FOLDER / peer.worker).is_file()


@pytest.mark.parametrize("peer", INSTALLABLE, ids=[peer.name for peer in INSTALLABLE])
def test_the_peer_itself_is_pinned(peer):
    """The first package is the peer; a figure belongs to one release of it."""
    assert "==" in peer.requirements.packages[0]
    assert all(set(package) & set("=<") for package in peer.requirements.packages)


def test_the_users_first_choices_are_there():
    """What people ask about first is a row, whether it can be run here or not."""
    assert {
        "flag-embedding",
        "sentence-transformers",
        "optimum-onnx",
        "bge-m3-lite",
        "text-embeddings-inference",
        "infinity",
        "vllm",
        "ollama",
    } <= set(PEERS)


@pytest.mark.parametrize("program", FOREIGN_PROGRAMS, ids=named)
def test_a_foreign_program_runs_on_python_3_9(program):
    """Its environment chooses the Python."""
    assert ast.parse(program.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("program", FOREIGN_PROGRAMS, ids=named)
def test_a_foreign_program_imports_nothing_of_ours_at_start(program):
    """The standard library, NumPy and what lies beside it; its peer when it loads."""
    imported = set()
    for node in ast.parse(program.read_text()).body:
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported <= {*sys.stdlib_module_names, "numpy"}


def test_no_program_has_the_name_of_a_library():
    """Python looks in a program's folder first: it would be imported in the library's place."""
    names = {file.stem for file in WORKERS_FOLDER.glob("*.py")} - {"__init__"}
    libraries = {"bge_m3_lite", "fastembed", "infinity_emb", "optimum", "triton", "vllm"}

    assert set() == {
        name for name in names if name in libraries or importlib.util.find_spec(name) is not None
    }


def test_what_cannot_be_had_is_no_command_but_a_reason(tmp_path):
    """In a sentence that a table can hold."""
    command = worker_command("ollama", tmp_path, print)

    assert isinstance(command, Unavailable)
    assert PEERS["ollama"].unavailable == str(command)
    assert not command.is_installable


def test_a_peer_that_is_not_installed_says_what_installs_it(tmp_path, monkeypatch):
    """Nothing is installed by asking."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    found = environment("flag-embedding")
    command = worker_command("optimum-onnx", tmp_path, print)

    assert isinstance(found, Unavailable)
    assert isinstance(command, Unavailable)
    assert found.is_installable
    assert "bgem3 bench --install-peers" in str(command)
    assert [] == list(tmp_path.iterdir())
