"""Installing a bundle, by its own script; every refusal leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_wheels import LARGE_FILE_BYTES, PACKAGE_VERSION
from waiting import wait_until

from bgem3_server.bundle import installer
from bgem3_server.bundle.installer import InstallError, check_machine

UNFINISHED = ".bgem3-installing"


def command(bundle: Path, *arguments: object) -> list[str]:
    """Return how the bundle is installed."""
    return ["sh", str(bundle / "install.sh"), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Return that of a machine where nothing but Python is known."""
    return {"PATH": "/usr/bin:/bin", "PYTHON": str(Path(sys.executable).resolve()), **more}


def run(
    bundle: Path, *arguments: object, prepare: Callable[[], None] | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Install the bundle, and return how that ended."""
    return subprocess.run(
        command(bundle, *arguments),
        env=environment(**more),
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def change_description(bundle: Path, **changes: object) -> None:
    """Change what a bundle says about itself, and its checksum with it."""
    file = bundle / "bundle.json"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}, indent=2) + "\n")
    sums = bundle / "SHA256SUMS"
    after = hashlib.sha256(file.read_bytes()).hexdigest()
    sums.write_text(sums.read_text().replace(before, after))


def test_a_bundle_is_installed(bundle, tmp_path):
    """Also over what one that was killed has left; pip's settings of the machine do not matter."""
    # What carries files over need not carry empty folders.
    (bundle / "model_repository" / "bge_m3" / "10").rmdir()
    folder = tmp_path / "opt"
    folder.mkdir()
    (folder / UNFINISHED).touch()
    (folder / "bin").mkdir()
    (folder / "bin" / "rubbish").touch()

    done = run(bundle, folder, PIP_CONSTRAINT="/nowhere", PIP_NO_BINARY=":all:")
    bgem3 = subprocess.run([folder / "bin" / "bgem3"], capture_output=True, text=True, check=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{folder}/bin/bgem3 serve {folder}/models/tiny" in done.stdout
    assert "demo model: not BGE-M3" in done.stdout
    assert bgem3.stdout == f"bgem3, version {PACKAGE_VERSION}\n"
    assert (folder / "models/tiny/bge_m3_trunk/10/model.onnx").read_bytes() == b"weights"
    assert (folder / "models/tiny/bge_m3/10").is_dir()
    assert not (folder / "bin" / "rubbish").exists()
    assert not (folder / UNFINISHED).exists()


def test_check_installs_nothing(bundle, tmp_path):
    """It says whether bundle and machine go together."""
    done = run(bundle, "--check", tmp_path / "opt")

    assert (done.returncode, done.stderr) == (0, "")
    assert "fit for each other" in done.stdout
    assert not (tmp_path / "opt").exists()


def damage_byte(bundle: Path) -> str:
    """Turn one bit of a wheel."""
    (wheel,) = (bundle / "wheels").glob("tokenizers-*.whl")
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)
    return f"changed: wheels/{wheel.name}"


def remove_file(bundle: Path) -> str:
    """Lose a file of the model."""
    (bundle / "model_repository" / "bge_m3" / "config.pbtxt").unlink()
    return "missing: model_repository/bge_m3/config.pbtxt"


def add_file(bundle: Path) -> str:
    """Put something in that pip would find."""
    (bundle / "wheels" / "evil-1.0-py3-none-any.whl").touch()
    return "in no list of this bundle: wheels/evil-1.0-py3-none-any.whl"


def add_link(bundle: Path) -> str:
    """Put a link in place of a file, with the right content behind it."""
    file = bundle / "requirements.txt"
    file.rename(bundle.parent / "elsewhere.txt")
    file.symlink_to(bundle.parent / "elsewhere.txt")
    return "neither file nor folder: requirements.txt"


def remove_sums(bundle: Path) -> str:
    """Stop copying before the end."""
    (bundle / "SHA256SUMS").unlink()
    return "the bundle was not finished, or not copied to its end"


@pytest.mark.parametrize("damage", [damage_byte, remove_file, add_file, add_link, remove_sums])
def test_a_bundle_that_is_not_what_was_made(bundle, tmp_path, damage):
    """The file is named, and nothing installed."""
    expected = damage(bundle)

    done = run(bundle, tmp_path / "opt")

    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "opt").exists()


def test_many_damaged_files_do_not_fill_the_screen(bundle, tmp_path):
    """Ten are named, the rest counted."""
    for number in range(14):
        (bundle / f"more-{number:02}").touch()

    done = run(bundle, tmp_path / "opt")

    assert "in no list of this bundle: more-09" in done.stderr
    assert "more-10" not in done.stderr
    assert "in no list of this bundle: 4 more" in done.stderr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"python": "3.10"}, r"the bundle is for Python 3.10, and "),
        ({"machine": "aarch64"}, "the bundle is for Linux on aarch64, and this is Linux on "),
        ({"glibc": "9.10"}, "the bundle needs glibc 9.10 or later, and this machine has glibc 2."),
        ({"format_version": 2}, "has format 2"),
        ({"installed_bytes": 2**60}, "needs 1073741824.0 GiB, and its disk has "),
    ],
)
def test_a_machine_that_the_bundle_is_not_for(bundle, tmp_path, changes, expected):
    """What is needed, and what is here."""
    change_description(bundle, **changes)

    done = run(bundle, tmp_path / "opt")

    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "opt").exists()


def test_no_python_at_all(bundle, tmp_path):
    """The shell says which is needed, and how it is had."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "sed", "dirname"):
        (tools / tool).symlink_to(str(shutil.which(tool)))

    named = run(bundle, tmp_path / "opt", PYTHON="/nowhere/python")
    searched = run(bundle, tmp_path / "opt", PYTHON="", PATH=str(tools))

    assert (1, "error: /nowhere/python is no Python that can be run (PYTHON)\n") == (
        named.returncode,
        named.stderr,
    )
    assert searched.returncode == 1
    assert "apt-get install python3." in searched.stderr


def test_python_without_its_parts(monkeypatch, made_bundle):
    """Debian leaves out `venv`, and the shared library that Triton needs."""
    description = installer.read_description(made_bundle)
    check_machine(description)
    monkeypatch.setattr(installer.ctypes, "CDLL", _no_library)

    with pytest.raises(InstallError, match=r"apt-get install libpython3\.\d+"):
        check_machine(description)
    check_machine({**description, "extras": ["gateway"]})

    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallError, match=r"apt-get install python3\.\d+-venv"):
        check_machine(description)


def _no_library(name: str) -> None:
    raise OSError(name)


def test_a_folder_with_something_in_it(bundle, tmp_path):
    """It is left as it is."""
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "mine").touch()

    done = run(bundle, tmp_path / "opt")

    assert done.returncode == 1
    assert "opt is not empty: name a new folder, or remove it" in done.stderr
    assert os.listdir(tmp_path / "opt") == ["mine"]


def test_a_model_that_is_there(bundle, tmp_path):
    """Another's model is not replaced."""
    (tmp_path / "models" / "tiny").mkdir(parents=True)

    done = run(bundle, "--models", tmp_path / "models", tmp_path / "opt")

    assert done.returncode == 1
    assert "models/tiny is there already: remove it, or give other --models" in done.stderr


def test_a_write_that_fails(bundle, tmp_path):
    """As on a full disk: nothing is left, neither here nor where the models go."""
    import resource

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE_FILE_BYTES // 2,) * 2)

    done = run(bundle, "--models", tmp_path / "models", tmp_path / "opt", prepare=prepare)

    assert done.returncode == 1
    assert "nothing is installed" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "opt").exists()
    assert not (tmp_path / "models" / "tiny").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_installation(bundle, tmp_path, number):
    """The folder is empty again."""
    folder = tmp_path / "opt"
    folder.mkdir()
    with subprocess.Popen(
        command(bundle, folder), env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until((folder / UNFINISHED).exists)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 1
    assert errors == "interrupted: nothing is installed\n"
    assert os.listdir(folder) == []
