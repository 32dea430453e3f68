"""What ``bgem3 serve`` starts of a repository that holds several versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bgem3_backend.contract import ENSEMBLE, version_name
from bgem3_export.manifest import Manifest
from bgem3_server.models.folders import STEPS, compile_python, write_choice
from bgem3_server.models.record import ServingRecord, VersionRecord


@dataclass(frozen=True)
class Choice:
    """What is loaded at a start.

    Attributes:
        models: By name; their steps come with them. Empty for all that the repository has.
        version: What serves; None where the repository holds nothing but its export.
    """

    models: tuple[str, ...] = ()
    version: VersionRecord | None = None


def served_files(repository: Path, manifest: Manifest) -> dict[str, str]:
    """Return the SHA-256 of every file that a start loads, by name in the repository.

    Raises:
        RepositoryError: The record is damaged.
    """
    record = ServingRecord.read(repository)
    if record is None:
        return manifest.versions[manifest.newest].files
    return {
        name: sha256
        for number in record.loaded
        for name, sha256 in record.versions[number].files.items()
    }


def prepare_choice(repository: Path) -> Choice:
    """Prepare a repository for a start of Triton, and return what to load.

    What ``bge_m3`` is on disk is held to the choice that was recorded.

    Raises:
        RepositoryError: The record is damaged, or the repository does not agree with it and cannot
            be written to.
    """
    for model in STEPS:
        for folder in (repository / model.name).glob("[1-9]*"):
            compile_python(folder)
    record = ServingRecord.read(repository)
    if record is None:
        return Choice()
    write_choice(repository, record)
    return Choice(
        (ENSEMBLE.name, *(version_name(number) for number in record.loaded)),
        record.versions[record.serving],
    )
