"""The batching library is compiled once for each compiler, and put where Triton looks."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgem3_backend.contract import TRUNK
from bgem3_export.batching import build
from bgem3_export.batching.build import LIBRARY_FILE, build_library, find_compiler
from bgem3_export.batching.command import build_batcher
from bgem3_export.batching.library import find_library, install_library
from bgem3_export.errors import CompilerError, RepositoryError

SOURCE = Path(build.__file__).with_name("token_budget.c")
FUNCTIONS = (
    "TRITONBACKEND_ModelBatcherInitialize",
    "TRITONBACKEND_ModelBatcherFinalize",
    "TRITONBACKEND_ModelBatchInitialize",
    "TRITONBACKEND_ModelBatchFinalize",
    "TRITONBACKEND_ModelBatchIncludeRequest",
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with a trunk's configuration in it."""
    trunk = tmp_path / "repository" / TRUNK.name
    trunk.mkdir(parents=True)
    (trunk / "config.pbtxt").write_text('name: "bge_m3_trunk"\n')
    return trunk.parent


def counting_compiler(folder: Path) -> tuple[Path, Path]:
    """A compiler that notes each of its runs, and its notes."""
    compiler, notes = folder / "counting cc", folder / "notes"
    compiler.write_text(
        f'#!/bin/sh\necho run >> "{notes}"\nexec {find_compiler().command[0]} "$@"\n'
    )
    compiler.chmod(0o755)
    return compiler, notes


def test_the_source_has_no_warnings(tmp_path):
    command = [*find_compiler().command, "-std=c11", "-O2", "-fPIC", "-shared"]
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    run = subprocess.run(
        [*command, *warnings, "-o", str(tmp_path / "library.so"), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (run.returncode, run.stderr)


def test_the_library_has_what_triton_calls_and_nothing_else():
    # Triton's own functions are missing here: they are bound when they are first called.
    library = ctypes.CDLL(str(build_library()), mode=ctypes.RTLD_LOCAL | 1)

    for name in FUNCTIONS:
        assert hasattr(library, name)
    assert not hasattr(library, "read_config")


def test_a_library_is_compiled_once(tmp_path, monkeypatch):
    compiler, notes = counting_compiler(tmp_path)
    monkeypatch.setenv("CC", f"'{compiler}' -g0")
    first = build_library()
    runs_first = notes.read_text().count("run")
    second = build_library()

    assert first == second
    # Its version is asked for each time; it is part of what the library is kept under.
    assert (2, 3) == (runs_first, notes.read_text().count("run"))


def test_another_compiler_makes_another_library(tmp_path, monkeypatch):
    ordinary = build_library()
    compiler, _ = counting_compiler(tmp_path)
    monkeypatch.setenv("CC", f"'{compiler}'")

    assert ordinary.parent != build_library().parent


def test_without_a_compiler_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CompilerError, match="apt-get install gcc libc6-dev"):
        build_library()


def test_a_compiler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("CC", "/nowhere/cc")

    with pytest.raises(CompilerError, match="from CC cannot be used: '/nowhere/cc' cannot be"):
        build_library()


def test_what_a_failing_compiler_says_is_told(tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo 1.0 && exit\necho "no headers here"; exit 3\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))

    with pytest.raises(CompilerError, match=r"exit status 3.*\n.*no headers here"):
        build_library()
    assert [] == list(tmp_path.rglob(LIBRARY_FILE))


def test_the_command_puts_the_library_beside_the_trunks_configuration(repository):
    before = (repository / TRUNK.name / "config.pbtxt").read_text()
    result = CliRunner().invoke(build_batcher, [str(repository)])
    library = repository / TRUNK.name / LIBRARY_FILE

    assert (0, f"{library}\n") == (result.exit_code, result.output)
    assert build_library().read_bytes() == library.read_bytes()
    assert before == (repository / TRUNK.name / "config.pbtxt").read_text()
    assert {"config.pbtxt", LIBRARY_FILE} == {path.name for path in library.parent.iterdir()}


def test_the_command_can_write_elsewhere(tmp_path):
    result = CliRunner().invoke(build_batcher, ["--output", str(tmp_path / "new" / "folder")])

    assert 0 == result.exit_code
    assert (tmp_path / "new" / "folder" / LIBRARY_FILE).is_file()


@pytest.mark.parametrize("arguments", [[], ["repository", "--output", "folder"]])
def test_the_command_wants_one_place(arguments):
    result = CliRunner().invoke(build_batcher, arguments)

    assert 2 == result.exit_code
    assert "name a model repository, or a folder with --output" in result.output


def test_a_folder_that_is_no_repository_is_refused(tmp_path):
    with pytest.raises(RepositoryError, match="not a model repository"):
        install_library(tmp_path)


def test_the_library_is_looked_for_as_triton_does(repository, tmp_path):
    trunk, backend = repository / TRUNK.name, tmp_path / "backends" / "onnxruntime"
    (trunk / "2").mkdir()
    backend.mkdir(parents=True)
    found = [find_library(repository, "2", backend)]
    for folder in (backend, trunk, trunk / "2"):
        (folder / LIBRARY_FILE).touch()
        found.append(find_library(repository, "2", backend))

    expected = [backend / LIBRARY_FILE, trunk / LIBRARY_FILE, trunk / "2" / LIBRARY_FILE]
    assert [None, *expected] == found
