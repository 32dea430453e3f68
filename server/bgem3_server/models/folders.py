"""The folders of a version in the served repository, and the one of the public name.

A version has models of its own, so that Triton never has to touch one that is answering:
``bge_m3_v2_trunk`` and so on, and the ensemble ``bge_m3_v2`` over them. The version that the
repository was exported with keeps the names of the contract for its steps. ``bge_m3`` is an
ensemble over the steps of the version that serves: the switch is this one configuration.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from bgem3_backend.contract import ENSEMBLE, MODELS, Model, version_name, version_step_name
from bgem3_export.errors import RepositoryError
from bgem3_server.models.record import ServingRecord, replace_file

STEPS: Final = tuple(model for model in MODELS if model is not ENSEMBLE)

_STEP_NAME: Final = re.compile(r'(\bmodel_name:\s*")([^"]+)(")')
_NAME: Final = re.compile(r'^(name:\s*")[^"]+(")', re.MULTILINE)
_POLICY: Final = re.compile(r"\nversion_policy: [^\n]*\n")


def step_name(model: Model, number: str, base: str) -> str:
    """Return the name that a step has in a version: ``bge_m3_v2_trunk``."""
    if number == base:
        return model.name
    return version_step_name(model, number)


def add_folders(export: Path, newest: str, repository: Path, number: str, base: str) -> None:
    """Put the models of an export into the repository, as another version.

    Args:
        export: The folder of the export; its files are linked, or copied where that cannot be.
        newest: The version of it to take.
        repository: The served repository.
        number: The version that it becomes.
        base: The version that the repository was exported with.

    Raises:
        RepositoryError: The repository cannot be written to.
    """
    remove_folders(repository, number, base)
    try:
        for model in STEPS:
            name = step_name(model, number, base)
            folder = repository / name
            _copy_configurations(export / model.name, folder, _NAME, rf"\g<1>{name}\g<2>")
            shutil.copytree(
                export / model.name / newest,
                folder / number,
                copy_function=_link,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
            compile_python(folder / number)
        _add_ensemble(export / ENSEMBLE.name, repository, number, base)
    except OSError as error:
        remove_folders(repository, number, base)
        raise RepositoryError(
            f"{repository} cannot be written to: {error.strerror}; nothing was changed"
        ) from error


def added_files(files: Mapping[str, str], number: str, base: str) -> dict[str, str]:
    """Return what a manifest says of an export's files, by their names as another version.

    Args:
        files: SHA-256 by name in the export.
        number: The version that it becomes.
        base: The version that the repository was exported with.
    """
    steps = {model.name: step_name(model, number, base) for model in STEPS}
    added = {}
    for name, sha256 in files.items():
        model, _, rest = name.split("/", 2)
        added[f"{steps[model]}/{number}/{rest}"] = sha256
    return added


def remove_folders(repository: Path, number: str, base: str) -> None:
    """Remove what :func:`add_folders` has made, or a part of it."""
    assert number != base
    for name in (version_name(number), *(step_name(model, number, base) for model in STEPS)):
        shutil.rmtree(repository / name, ignore_errors=True)


def add_base_ensemble(repository: Path, base: str) -> None:
    """Make the ensemble ``bge_m3_v1`` of the export that the repository began with.

    Raises:
        RepositoryError: The repository cannot be written to.
    """
    if (repository / version_name(base) / base).is_dir():
        return
    try:
        _add_ensemble(repository / ENSEMBLE.name, repository, base, base)
    except OSError as error:
        raise RepositoryError(f"{repository} cannot be written to: {error.strerror}") from error


@contextmanager
def mark(repository: Path) -> Iterator[str]:
    """Make a folder of a name that nobody else has in the repository, for a moment.

    Raises:
        RepositoryError: The repository cannot be written to.
    """
    folder = repository / f"bge_m3_mark_{uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        raise RepositoryError(f"{repository} cannot be written to: {error.strerror}") from error
    try:
        yield folder.name
    finally:
        folder.rmdir()


def write_choice(repository: Path, record: ServingRecord) -> None:
    """Make ``bge_m3`` the version that serves, on disk; what is right already is left alone.

    Raises:
        RepositoryError: A file is missing, or cannot be written.
    """
    source = repository / version_name(record.serving)
    public = repository / ENSEMBLE.name
    policy = f"\nversion_policy: {{ specific {{ versions: [ {record.serving} ] }} }}\n"
    try:
        (public / record.serving).mkdir(parents=True, exist_ok=True)
        for path in sorted(source.rglob("*.pbtxt")):
            text = path.read_text(encoding="utf-8")
            text = _POLICY.sub("", _NAME.sub(rf"\g<1>{ENSEMBLE.name}\g<2>", text, count=1)) + policy
            target = public / path.relative_to(source)
            if not target.is_file() or target.read_text(encoding="utf-8") != text:
                target.parent.mkdir(exist_ok=True)
                replace_file(target, text)
        # Another export into the same folder must not take the place of the one that it began
        # with: Triton would serve the newest folder.
        for model in STEPS:
            folder = repository / model.name
            if len([path for path in folder.iterdir() if path.name.isdecimal()]) > 1:
                _pin(folder, record.base)
    except OSError as error:
        raise RepositoryError(f"{error.filename} cannot be used: {error.strerror}") from error


def compile_python(folder: Path) -> None:
    """Compile a model's Python before Triton sees the folder.

    Python would do it at the first load; Triton would take the folder for changed, and load the
    model once more at the next switch.
    """
    if not (folder / "__pycache__").exists() and os.access(folder, os.W_OK):
        compileall.compile_dir(folder, maxlevels=0, quiet=2)


def folder_bytes(repository: Path, number: str, base: str) -> int:
    """Return what the files of a version take on disk."""
    return sum(
        path.stat().st_size
        for model in STEPS
        for path in (repository / step_name(model, number, base) / number).rglob("*")
        if path.is_file()
    )


def _add_ensemble(source: Path, repository: Path, number: str, base: str) -> None:
    name = version_name(number)
    folder = repository / name
    _copy_configurations(source, folder, _NAME, rf"\g<1>{name}\g<2>")
    names = {model.name: step_name(model, number, base) for model in STEPS}
    for path in folder.rglob("*.pbtxt"):
        text = _STEP_NAME.sub(
            lambda match: f"{match[1]}{names.get(match[2], match[2])}{match[3]}",
            _POLICY.sub("", path.read_text(encoding="utf-8")),
        )
        replace_file(path, text)
    (folder / number).mkdir(exist_ok=True)


def _copy_configurations(
    source: Path, target: Path, pattern: re.Pattern[str], replacement: str
) -> None:
    for path in sorted(source.rglob("*.pbtxt")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = _POLICY.sub("", path.read_text(encoding="utf-8"))
        copy.write_text(pattern.sub(replacement, text, count=1), encoding="utf-8")


def _pin(folder: Path, number: str) -> None:
    policy = f"\nversion_policy: {{ specific {{ versions: [ {number} ] }} }}\n"
    for path in sorted(folder.rglob("*.pbtxt")):
        text = path.read_text(encoding="utf-8")
        if policy not in text:
            replace_file(path, _POLICY.sub("", text) + policy)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no hard links; a copy is as good.
        shutil.copy2(source, target)
