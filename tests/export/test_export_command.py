"""``bgem3 export``: what it prints, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bgem3_client.command_line.main import main
from bgem3_export.command import export
from bgem3_export.errors import CheckpointError
from bgem3_export.manifest import Manifest

pytestmark = pytest.mark.usefixtures("_one_thread")


def run(*arguments: object):
    """Run the command in this process."""
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def run_in_new_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``bgem3`` as a user does."""
    bgem3 = Path(sys.executable).with_name("bgem3")
    return subprocess.run(
        [bgem3, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_export_ends_with_a_summary(tiny_directory, tmp_path):
    """What was made of what, how well it was checked, and how to serve it."""
    repository = tmp_path / "repository"
    result = run(tiny_directory, "--output", repository)
    revision = Manifest.read(repository).versions["1"].revision

    assert 0 == result.exit_code
    assert (
        f"{repository} is ready: version 1 of tiny-model ({revision[:12]}), fp32, dense 32, "
        "ColBERT 24\n" in result.stdout
    )
    for output in ("dense", "hidden_states", "sparse", "colbert"):
        assert f" {output} " in result.stdout
    assert "against PyTorch, 26 texts" in result.stdout
    assert result.stdout.endswith(f"Serve it: bgem3 serve {repository}\n")
    assert "demo model" not in result.stdout


def test_progress_is_shown_beside_the_result(tiny_directory, tmp_path):
    """On stderr, so that the summary can be kept alone."""
    result = run(tiny_directory, "--output", tmp_path / "repository")

    assert "comparing with the checkpoint" in result.stderr
    assert "comparing with the checkpoint" not in result.stdout


def test_a_path_is_printed_whole(tiny_directory, tmp_path):
    """However long it is and whatever is in it, it can be copied from the terminal."""
    repository = tmp_path / ("a rather long name, " * 6) / "[bold] and [/bold] tiny [v2]"
    result = run(tiny_directory, "--output", repository)

    assert 0 == result.exit_code
    assert f"{repository} is ready: version 1 of tiny-model" in result.stdout
    assert f"Serve it: bgem3 serve {repository}\n" in result.stdout


def test_reuse_says_that_nothing_was_done(tiny_directory, tmp_path):
    """With the figures of the version that is there."""
    repository = tmp_path / "repository"
    run(tiny_directory, "--output", repository)
    result = run(tiny_directory, "--output", repository, "--reuse")

    assert 0 == result.exit_code
    assert f"{repository} is up to date: version 1 of tiny-model" in result.stdout
    assert "against PyTorch, 26 texts" in result.stdout
    assert ["1"] == list(Manifest.read(repository).versions)


def test_the_demo_model_is_always_said_aloud(tiny_directory, tmp_path, monkeypatch):
    """It is the default, and first of all it is not BGE-M3."""
    monkeypatch.setattr("bgem3_export.demo_model.demo_model", lambda progress: tiny_directory)
    result = run("--output", tmp_path / "repository")

    assert 0 == result.exit_code
    assert result.stdout.startswith("demo model: 32 dimensions, not BGE-M3\n")
    assert "version 1 of demo (" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "precision"),
    [
        ((), "fp32"),
        (("--precision", "fp16"), "fp16"),
        (("--device", "cuda"), "fp16"),
        (("--device", "cuda", "--precision", "fp32"), "fp32"),
    ],
)
def test_the_default_precision_is_the_devices(
    tiny_directory, tmp_path, monkeypatch, arguments, precision
):
    """FP16 where the export is checked on a GPU, FP32 otherwise."""
    asked = []

    def recorded(source, output, precision, device, progress, **options):
        asked.append(precision)
        raise CheckpointError("far enough")

    monkeypatch.setattr("bgem3_export.export.export_checkpoint", recorded)
    run(tiny_directory, "--output", tmp_path / "repository", *arguments)

    assert [precision] == asked


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo",),
        ("demo", "--output", "x", "--precision", "int8"),
        ("demo", "--output", "x", "--device", "tpu"),
    ],
    ids=["no output", "unknown precision", "unknown device"],
)
def test_wrong_usage_is_explained(arguments, tmp_path, monkeypatch):
    """By click, before anything is done."""
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)

    assert 2 == result.exit_code
    assert "Usage: " in result.stderr
    assert [] == list(tmp_path.iterdir())


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Run ``bgem3`` to its end in this process: exit code, output and the one message."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bgem3", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()

        assert "" == printed.out
        assert "Traceback" not in printed.err
        # The message may have more lines; it is the last thing that is said.
        return ended.value.code, "error: " + printed.err.partition("\nerror: ")[2]

    return run


def test_an_incomplete_checkpoint_ends_with_one_message(run_main, tiny_directory, tmp_path):
    """Exit code 1: the checkpoint is at fault, not the command line."""
    (tiny_directory / "sparse_linear.pt").unlink()
    code, message = run_main("export", tiny_directory, "--output", tmp_path / "repository")

    assert 1 == code
    assert message.startswith(f"error: {tiny_directory / 'sparse_linear.pt'} is missing: the che")
    assert not (tmp_path / "repository").exists()


def test_a_folder_of_something_else_ends_with_one_message(run_main, tiny_directory):
    """Exit code 2: what was asked for was wrong."""
    code, message = run_main("export", tiny_directory, "--output", tiny_directory)

    assert 2 == code
    assert message.startswith(f"error: {tiny_directory} has no manifest.json: it is not a repos")


def test_a_failure_as_a_user_sees_it(tmp_path):
    """Through the entry point: one message on stderr, no traceback, the error's exit code."""
    result = run_in_new_process("export", "./nowhere", "--output", tmp_path / "repository")

    assert 2 == result.returncode
    assert "" == result.stdout
    assert "error: there is no folder ./nowhere, and it is no hub name" in result.stderr
    assert "Traceback" not in result.stderr
    assert [] == list(tmp_path.iterdir())


def test_the_whole_command_works_as_a_user_runs_it(tiny_directory, tmp_path):
    """Through the entry point, from a folder to a repository."""
    repository = tmp_path / "repository"
    result = run_in_new_process("export", tiny_directory, "-o", repository, "--precision", "fp16")

    assert 0 == result.returncode, result.stderr
    assert f"Serve it: bgem3 serve {repository}" in result.stdout
    assert "fp16" == Manifest.read(repository).model.precision


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((), {"engine": None, "length_mix": "passages"}),
        (
            ("--engine", "tensorrt", "--length-mix", "queries"),
            {"engine": "tensorrt", "length_mix": "queries"},
        ),
    ],
)
def test_tensorrt_is_planned_as_asked(tiny_directory, tmp_path, monkeypatch, arguments, options):
    """No engine unless it is asked for; the profiles for TensorRT are there in any case."""
    asked = []

    def recorded(source, output, precision, device, progress, **given):
        asked.append(given)
        raise CheckpointError("far enough")

    monkeypatch.setattr("bgem3_export.export.export_checkpoint", recorded)
    run(tiny_directory, "--output", tmp_path / "repository", *arguments)

    assert [options | {"reuse": False, "int8": False}] == asked
