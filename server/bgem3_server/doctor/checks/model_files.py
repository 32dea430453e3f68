"""The files of a model repository against its manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import MANIFEST_FILE, Manifest, Version
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Progress, Subject
from bgem3_server.models.record import ServingRecord, VersionRecord
from bgem3_server.repository import read_repository

NO_REPOSITORY: Final = "no model repository was named"
"""What checks say that need one."""

_EXPORT_AGAIN: Final = "copy the repository again, or export the model again"
_BLOCK_BYTES: Final = 4 * 2**20
# What Python leaves beside the models that it has run.
_LEFT_BY_PYTHON: Final = "__pycache__"


def no_repository(subject: Subject) -> str:
    """Return why there are no files to look at."""
    if subject.repository is None:
        return NO_REPOSITORY
    return f"{subject.repository} is no folder that can be looked into"


def repository(subject: Subject) -> Iterator[Finding]:
    """Whether there is a repository of a format that this release reads."""
    if subject.repository is None:
        yield not_applicable(f"{NO_REPOSITORY}: 'bgem3 doctor DIR' examines one")
        return
    try:
        manifest = read_repository(subject.repository)
    except RepositoryError as error:
        # Which of the two it is, the error does not say otherwise than in words.
        if os.path.isfile(subject.repository / MANIFEST_FILE):
            advice = "export the model into a new folder with this release"
            yield problem(Code.MANIFEST_UNREADABLE, str(error), advice)
        else:
            advice = "name the folder that 'bgem3 export --output DIR' has written"
            yield problem(Code.NOT_A_REPOSITORY, str(error), advice)
        return
    except PermissionError as error:
        yield _unreadable(Path(error.filename or subject.repository))
        return
    if manifest is None:
        yield warning(
            Code.MANIFEST_MISSING,
            f"{subject.repository} has no {MANIFEST_FILE}: it can be served, but its files cannot "
            "be checked",
            "serve what 'bgem3 export' has written",
        )
        return
    try:
        ServingRecord.read(subject.repository)
    except RepositoryError as error:
        yield problem(Code.MANIFEST_UNREADABLE, str(error), "restore the file, or remove it")
        return
    version = manifest.versions[manifest.newest]
    demo = f"; demo model: {manifest.model.hidden_size} dimensions, not BGE-M3"
    yield ok(
        f"{subject.repository}: {version.source}, version {manifest.newest} of "
        f"{version.created[:10]}, {manifest.model.hidden_size} dimensions, "
        f"{manifest.model.precision}{demo if version.demo else ''}",
        path=str(subject.repository),
        source=version.source,
        revision=version.revision,
        version=manifest.newest,
        format=manifest.format_version,
        dimension=manifest.model.hidden_size,
        demo=version.demo,
    )


def hashes(subject: Subject) -> Iterator[Finding]:
    """Whether every file is there, and is what was exported."""
    if subject.repository is None or subject.manifest is None:
        yield not_applicable("no manifest to hold files against")
        return
    listed = _listed(subject.repository, subject.manifest)
    faults = False
    for finding in _faults(subject.repository, listed, subject.progress):
        faults = True
        yield finding
    if not faults:
        size = sum((subject.repository / name).stat().st_size for name in listed)
        yield ok(
            f"{len(listed)} files ({size / 10**6:,.0f} MB) have the SHA-256 of the manifest",
            files=len(listed),
            bytes=size,
        )


def unlisted(subject: Subject) -> Iterator[Finding]:
    """Whether there are files in the versions' folders that the manifest does not know."""
    if subject.repository is None or subject.manifest is None:
        yield not_applicable("no manifest to hold files against")
        return
    listed = _listed(subject.repository, subject.manifest)
    found = [
        str(path.relative_to(subject.repository))
        for path in sorted(_version_files(subject.repository))
        if str(path.relative_to(subject.repository)) not in listed
    ]
    if found:
        yield warning(
            Code.FILE_UNLISTED,
            f"{len(found)} file(s) that the manifest does not list: {', '.join(found[:5])}"
            f"{' …' if len(found) > 5 else ''}",
            "if you did not put them there, remove them: Triton runs the code of a repository",
            files=found,
        )
    else:
        yield ok("no files beside those of the manifest")


def links(subject: Subject) -> Iterator[Finding]:
    """Whether the repository leads elsewhere, which a copy or a container may not have."""
    if subject.repository is None or not os.path.isdir(subject.repository):
        yield not_applicable(no_repository(subject))
        return
    inside = subject.repository.resolve()
    outside = [
        str(path.relative_to(subject.repository))
        for path in sorted(subject.repository.rglob("*"))
        if path.is_symlink() and not path.resolve().is_relative_to(inside)
    ]
    if outside:
        yield warning(
            Code.FILE_IS_LINK,
            f"{len(outside)} link(s) lead out of the repository: {', '.join(outside[:5])}",
            "a container that mounts the repository alone does not see what they lead to: copy "
            "it with 'cp -rL'",
            files=outside,
        )
    else:
        yield ok("no links out of the repository")


def _listed(repository: Path, manifest: Manifest) -> dict[str, str]:
    """SHA-256 by name, of the exports and of what 'bgem3 models' has added."""
    versions: list[Version | VersionRecord] = [*manifest.versions.values()]
    with suppress(RepositoryError):  # which is a finding of its own
        if (record := ServingRecord.read(repository)) is not None:
            versions += record.versions.values()
    return {name: digest for version in versions for name, digest in version.files.items()}


def _faults(repository: Path, listed: dict[str, str], progress: Progress) -> Iterator[Finding]:
    for name, digest in listed.items():
        path = repository / name
        try:
            found = _sha256(path, name, progress)
        except FileNotFoundError:
            yield problem(
                Code.FILE_MISSING,
                f"{name} is missing{' (a link that leads nowhere)' if path.is_symlink() else ''}",
                _EXPORT_AGAIN,
                file=name,
            )
        except OSError as error:
            yield _unreadable(path, error.strerror or str(error))
        else:
            if found != digest:
                yield problem(
                    Code.FILE_CHANGED,
                    f"{name} is not what was exported: its SHA-256 is {found[:12]}…, and the "
                    f"manifest says {digest[:12]}…",
                    f"do not serve it: {_EXPORT_AGAIN}; if it happens again, test disk and memory",
                    file=name,
                    sha256=found,
                    expected=digest,
                )


def _sha256(path: Path, name: str, progress: Progress) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size, done = path.stat().st_size, 0
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(name, done, size)
    return digest.hexdigest()


def _unreadable(path: Path, reason: str = "Permission denied") -> Finding:
    return problem(
        Code.FILE_UNREADABLE,
        f"{path} cannot be read: {reason}",
        "let the user who runs bgem3 read it: chmod -R a+rX DIR, or chown",
        file=str(path),
    )


def _version_files(repository: Path) -> Iterable[Path]:
    return (
        path
        for path in repository.glob("*/[1-9]*/**/*")
        if os.path.isfile(path) and _LEFT_BY_PYTHON not in path.parts
    )


CHECKS: Final = (
    Check("model_files.repository", repository),
    Check("model_files.hashes", hashes),
    Check("model_files.unlisted", unlisted),
    Check("model_files.links", links),
)
