"""What a bundle holds, and when there is none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_wheels import PACKAGE_VERSION, locked_version, write_wheel

from bgem3_export.errors import DiskSpaceError, RepositoryError
from bgem3_export.manifest import Manifest
from bgem3_server.bundle import bundle as bundle_module
from bgem3_server.bundle import wheels as wheels_module
from bgem3_server.bundle.bundle import make_bundle
from bgem3_server.bundle.command import bundle as command
from bgem3_server.bundle.errors import BundleError, PackagesError
from bgem3_server.bundle.installer import verify_bundle
from bgem3_server.bundle.pins import newest_glibc, read_wheels
from bgem3_server.models.record import ServingRecord

TOKENIZERS = f"tokenizers-{locked_version('tokenizers')}-py3-none-"
SAFETENSORS = f"safetensors-{locked_version('safetensors')}-py3-none-"


@pytest.fixture
def make(ingredients, pip_finds, tmp_path):
    """Make a tiny bundle with some things otherwise."""

    def _make(**changed):
        arguments = {
            "repository": ingredients.repository,
            "output": tmp_path / "new" / "bundle",
            "extras": ["backend"],
            "package": str(ingredients.package),
            "progress": lambda step: None,
            **changed,
        }
        return make_bundle(arguments.pop("repository"), arguments.pop("output"), **arguments)

    return _make


def left_behind(folder: Path) -> list[str]:
    """Return what lies in a folder, but for the file that is a lock."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_repository_of_several_versions_is_refused(make, ingredients, tmp_path):
    """What it serves is not what was exported into it."""
    repository = Path(shutil.copytree(ingredients.repository, tmp_path / "repository"))
    ServingRecord.of_export(Manifest.read(repository)).write(repository)

    with pytest.raises(RepositoryError, match="bundle the export of the one that you want"):
        make(repository=repository)
    assert not (tmp_path / "new" / "bundle").exists()


def test_a_bundle_holds_all_that_is_needed(made_bundle):
    """Packages at the versions of the lock, what they need themselves, the model, the installer."""
    files = {
        path.relative_to(made_bundle).as_posix()
        for path in made_bundle.rglob("*")
        if path.is_file()
    }

    assert files == {
        "README.md",
        "SHA256SUMS",
        "bundle.json",
        "images.txt",
        "install.py",
        "install.sh",
        "requirements.txt",
        "model_repository/bge_m3/config.pbtxt",
        "model_repository/bge_m3_trunk/10/model.onnx",
        "model_repository/manifest.json",
        f"wheels/bgem3_triton-{PACKAGE_VERSION}-py3-none-any.whl",
        f"wheels/{TOKENIZERS}manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        f"wheels/{SAFETENSORS}manylinux_2_5_x86_64.manylinux_2_28_x86_64.whl",
    }


def test_earlier_versions_come_along_if_asked_for(make, tmp_path):
    """By default the newest comes alone, and the manifest says so."""
    make(all_versions=True)
    model = tmp_path / "new" / "bundle" / "model_repository"

    assert Manifest.read(model).versions.keys() == {"2", "10"}
    assert (model / "bge_m3_trunk" / "2" / "model.onnx").is_file()
    assert (model / "bge_m3" / "2").is_dir()


def test_the_newest_version_comes_alone(made_bundle):
    """A repository that was exported into for months would be large."""
    model = made_bundle / "model_repository"

    assert Manifest.read(model).versions.keys() == {"10"}
    assert [path.name for path in (model / "bge_m3").iterdir() if path.is_dir()] == ["10"]


def test_every_package_is_pinned_by_its_hash(made_bundle):
    """One line for each wheel, and the project's with what was asked for."""
    lines = (made_bundle / "requirements.txt").read_text().splitlines()
    hashes = {
        hashlib.sha256(wheel.read_bytes()).hexdigest()
        for wheel in (made_bundle / "wheels").iterdir()
    }

    assert [line.partition(" ")[0] for line in lines] == [
        f"bgem3-triton[backend]=={PACKAGE_VERSION}",
        f"safetensors=={locked_version('safetensors')}",
        f"tokenizers=={locked_version('tokenizers')}",
    ]
    assert {line.partition("sha256:")[2] for line in lines} == hashes


def test_a_bundle_says_what_it_is_for(made_bundle):
    """The model by the name of its folder; the C library is that of the most demanding wheel."""
    description = json.loads((made_bundle / "bundle.json").read_text())

    assert description["glibc"] == "2.17"
    assert description["extras"] == ["backend"]
    assert description["model"]["name"] == "tiny"
    assert description["model"]["demo"]
    assert description["model"]["empty_folders"] == ["bge_m3/10"]


def test_a_made_bundle_passes_its_own_check(made_bundle):
    """Its checksums are those of its files."""
    verify_bundle(made_bundle)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["py3-none-any"], None),
        (["py3-none-any", "cp311-cp311-manylinux1_x86_64"], (2, 5)),
        (["cp311-abi3-manylinux_2_9_x86_64", "cp311-cp311-manylinux2010_x86_64"], (2, 12)),
        (["cp311-cp311-manylinux_2_35_x86_64.manylinux_2_40_x86_64"], (2, 35)),
    ],
)
def test_the_c_library_is_read_from_the_names_of_wheels(tmp_path, tags, expected):
    """By number, not by letter; a wheel for several runs on the oldest of them."""
    for number, tag in enumerate(tags):
        write_wheel(tmp_path, f"package_{number}", "1.0", tag=tag)

    assert expected == newest_glibc(read_wheels(tmp_path))


def test_what_is_there_is_not_replaced(make, tmp_path):
    """Nor is it mixed with what was there."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()

    with pytest.raises(BundleError, match="taken is there already, and no empty folder"):
        make(output=tmp_path / "taken")


def test_an_empty_folder_is_filled(make, tmp_path):
    """As one that was made for it."""
    (tmp_path / "empty").mkdir()

    make(output=tmp_path / "empty")

    verify_bundle(tmp_path / "empty")


def test_an_extra_that_there_is_not(make):
    """Pip would only warn of it, and the bundle lack what was meant."""
    with pytest.raises(BundleError, match=r"has no extra cpus; it has all, .*cpu, "):
        make(extras=["backend", "cpus"])


def test_a_package_that_cannot_be_had(make, tmp_path):
    """Pip's own words, and nothing left behind."""
    with pytest.raises(PackagesError, match=r"(?s)ERROR: No matching distribution .* nowhere.*PIP"):
        make(extras=["gateway"])

    assert left_behind(tmp_path / "new") == []


def test_the_network_is_away(make, monkeypatch, tmp_path):
    """An index that nothing listens for is told as what it is."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")

    with pytest.raises(PackagesError, match=r"Bundling needs the network, or a package index"):
        make(extras=["gateway"])

    assert left_behind(tmp_path / "new") == []


def test_a_full_disk(make, monkeypatch, tmp_path):
    """Nothing is left of what was written until then."""

    def fail(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bundle_module.shutil, "copyfile", fail)

    with pytest.raises(DiskSpaceError, match="is full; make room"):
        make()

    assert left_behind(tmp_path / "new") == []


def test_what_a_killed_one_left_behind_goes(make, tmp_path):
    """The next one with the same name removes it."""
    abandoned = tmp_path / "new" / ".bundle.build-abandoned"
    abandoned.mkdir(parents=True)

    make()

    assert left_behind(tmp_path / "new") == ["bundle"]


@pytest.mark.parametrize("change", ["changed", "missing"])
def test_a_model_that_is_not_what_was_exported(make, ingredients, tmp_path, change):
    """A damaged model is told here, not where it was carried to."""
    repository = shutil.copytree(ingredients.repository, tmp_path / "damaged")
    weights = repository / "bge_m3_trunk" / "10" / "model.onnx"
    if change == "changed":
        weights.write_bytes(b"Weights")
    else:
        weights.unlink()

    with pytest.raises(RepositoryError, match=r"model\.onnx is .*: export again"):
        make(repository=repository)


def test_a_repository_without_a_manifest(make, ingredients, tmp_path):
    """Nothing says what its files have to be."""
    repository = shutil.copytree(ingredients.repository, tmp_path / "unknown")
    (repository / "manifest.json").unlink()

    with pytest.raises(RepositoryError, match="has no manifest"):
        make(repository=repository)


def test_a_python_that_there_is_not(make):
    """It is named with the option."""
    with pytest.raises(BundleError, match=r"python9\.9 is not a Python that can be run"):
        make(python="python9.9")


def test_where_this_was_installed_from_is_gone(make, monkeypatch):
    """What to do instead is said."""

    class Distribution:
        version = PACKAGE_VERSION

        def read_text(self, name: str) -> str | None:
            return '{"url": "file:///gone%20away/bgem3.whl"}' if name == "direct_url.json" else None

    monkeypatch.setattr(wheels_module.metadata, "distribution", lambda name: Distribution())

    with pytest.raises(BundleError, match=r"from /gone away/bgem3\.whl, .*--package"):
        make(package=None)


def test_the_command_says_what_was_made(ingredients, pip_finds, tmp_path):
    """Where it is, for what, its checksum and what comes next."""
    arguments = [
        str(ingredients.repository),
        *("--output", str(tmp_path / "bundle"), "--extras", "backend"),
        *("--package", str(ingredients.package)),
    ]

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    sums = hashlib.sha256((tmp_path / "bundle" / "SHA256SUMS").read_bytes()).hexdigest()

    assert result.exit_code == 0
    assert f"{tmp_path}/bundle is ready: 3 packages and tiny" in result.stdout
    assert "glibc 2.17 or later" in result.stdout
    assert f"SHA-256 of its SHA256SUMS: {sums}" in result.stdout
    assert "sh install.sh" in result.stdout
