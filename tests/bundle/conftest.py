"""A tiny bundle, made by the real command from wheels of a few bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_manifest import demo_manifest
from tiny_wheels import COMMAND, LARGE_FILE_BYTES, PACKAGE_VERSION, locked_version, write_wheel

from bgem3_server.bundle.bundle import make_bundle


@dataclass(frozen=True)
class Ingredients:
    """What a bundle is made of.

    Attributes:
        index: The folder that pip finds all wheels in.
        package: The wheel that stands for the project's.
    """

    repository: Path
    index: Path
    package: Path


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    """A repository that is exported as far as a bundle can see, and the wheels."""
    folder = tmp_path_factory.mktemp("ingredients")
    index, own = folder / "index", folder / "own"
    index.mkdir()
    own.mkdir()
    # What is newer than the lock is not to be taken.
    write_wheel(index, "tokenizers", "999.0")
    write_wheel(
        index,
        "tokenizers",
        locked_version("tokenizers"),
        tag="py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64",
        metadata=["Requires-Dist: safetensors"],
    )
    # Needed by what is needed; of several platforms, the oldest counts.
    write_wheel(
        index,
        "safetensors",
        locked_version("safetensors"),
        tag="py3-none-manylinux_2_5_x86_64.manylinux_2_28_x86_64",
        files={"safetensors_module.py": b"", "safetensors_data": bytes(LARGE_FILE_BYTES)},
    )
    package = write_wheel(
        own,
        "bgem3_triton",
        PACKAGE_VERSION,
        files={"bgem3_tiny.py": COMMAND.encode()},
        metadata=[
            "Provides-Extra: backend",
            'Requires-Dist: tokenizers; extra == "backend"',
            "Provides-Extra: gateway",
            'Requires-Dist: nowhere; extra == "gateway"',
        ],
        entry_points="[console_scripts]\nbgem3 = bgem3_tiny:main\n",
    )
    repository = folder / "tiny"
    manifest = demo_manifest()
    versions = {
        number: manifest.versions["1"].model_copy(
            update={
                "files": {f"bge_m3_trunk/{number}/model.onnx": _write_version(repository, number)}
            }
        )
        for number in ("2", "10")
    }
    (repository / "bge_m3" / "config.pbtxt").write_text('name: "bge_m3"\n')
    manifest.model_copy(update={"versions": versions}).write(repository)
    return Ingredients(repository, index, package)


def _write_version(repository: Path, number: str) -> str:
    """Write a version's folders, one of them empty, and return the hash of its weights."""
    weights = repository / "bge_m3_trunk" / number / "model.onnx"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (weights.parent / "__pycache__").mkdir()
    (weights.parent / "__pycache__" / "model.pyc").write_bytes(b"compiled")
    (repository / "bge_m3" / number).mkdir(parents=True)
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _offer(ingredients: Ingredients, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(ingredients.index))


@pytest.fixture
def pip_finds(ingredients: Ingredients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip find the tiny wheels, and nothing else."""
    _offer(ingredients, monkeypatch)


@pytest.fixture(scope="session")
def made_bundle(ingredients: Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    with pytest.MonkeyPatch.context() as monkeypatch:
        _offer(ingredients, monkeypatch)
        make_bundle(
            ingredients.repository,
            folder,
            extras=["backend"],
            package=str(ingredients.package),
            progress=lambda step: None,
        )
    return folder


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, as it was carried over."""
    return shutil.copytree(made_bundle, tmp_path / "carried over")
