"""Making a bundle: packages, model repository, installer and checksums in one folder."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import Manifest
from bgem3_export.publishing import check_free_space, exclusive, published
from bgem3_server.bundle import installer
from bgem3_server.bundle.errors import BundleError
from bgem3_server.bundle.installer import (
    DESCRIPTION_FILE,
    FORMAT_VERSION,
    MODEL_FOLDER,
    REQUIREMENTS_FILE,
    SUMS_FILE,
    WHEELS_FOLDER,
)
from bgem3_server.bundle.lock import lock_file
from bgem3_server.bundle.pins import Wheel, newest_glibc, pinned_requirements, read_wheels, sha256
from bgem3_server.bundle.target import Target, find_target
from bgem3_server.bundle.wheels import DISTRIBUTION, collect_wheels, known_extras
from bgem3_server.models.record import ServingRecord
from bgem3_server.repository import read_repository

DEFAULT_EXTRAS: Final = ("backend", "cpu", "gateway", "retrieval", "server")
"""What `bgem3 serve` and `bgem3 gateway` need."""

_CONTENTS: Final = Path(__file__).parent / "contents"


@dataclass(frozen=True)
class Bundle:
    """What was made.

    Attributes:
        sums_sha256: Of the file of checksums: it stands for the whole bundle.
        glibc: The oldest GNU C library that it can be installed with, as in ``2.35``.
    """

    folder: Path
    packages: int
    size_bytes: int
    sums_sha256: str
    target: Target
    glibc: str


def make_bundle(
    repository: Path,
    output: Path,
    *,
    extras: Sequence[str] = DEFAULT_EXTRAS,
    package: str | None = None,
    python: str | None = None,
    all_versions: bool = False,
    progress: Callable[[str], None],
) -> Bundle:
    """Make a bundle of a model repository: complete, or not there.

    Args:
        repository: What ``bgem3 export`` has written.
        output: The folder to make; it may be there, and has to be empty then.
        extras: What of the project is to be installed.
        package: Where the project's own wheel comes from, as pip takes it; None for where this
            installation came from.
        python: A Python of the version that the target has; None for this one.
        all_versions: Of the model; otherwise the newest alone.
        progress: Is told each step.

    Raises:
        BundleError: The folder is not empty, an extra is unknown, or there is no such Python.
        PackagesError: A package could not be had.
        RepositoryError: The repository is none, or its files are not those that were exported.
        DiskSpaceError: The disk is full.
    """
    if unknown := set(extras) - known_extras():
        raise BundleError(
            f"{DISTRIBUTION} has no extra {', '.join(sorted(unknown))}; it has "
            f"{', '.join(sorted(known_extras()))}"
        )
    exported = _exported(repository)
    versions = exported.versions.keys() if all_versions else {exported.newest}
    manifest = exported.model_copy(
        update={"versions": {name: exported.versions[name] for name in versions}}
    )
    files = _served_files(repository, exported, versions)
    target = find_target(python)
    _refuse_content(output)
    check_free_space(output, sum(file.stat().st_size for file in files))
    with exclusive(output, "bundle"), published(output) as build:
        progress(f"copying {repository}")
        _copy_repository(repository, files, manifest, build / MODEL_FOLDER)
        progress(f"getting the packages for Python {target.python}: {', '.join(extras)}")
        wheels_folder = build / WHEELS_FOLDER
        wheels_folder.mkdir()
        collect_wheels(wheels_folder, package, extras, lock_file(), target)
        wheels = read_wheels(wheels_folder)
        glibc = ".".join(map(str, newest_glibc(wheels) or (0, 0)))
        (build / REQUIREMENTS_FILE).write_text(
            pinned_requirements(wheels, sorted(extras)), encoding="utf-8"
        )
        _write_contents(build)
        description = _description(repository, manifest, build, wheels, extras, target, glibc)
        (build / DESCRIPTION_FILE).write_text(
            json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        progress("writing checksums")
        size_bytes = _size_bytes(build)
        _write_sums(build)
    return Bundle(
        output, len(wheels), size_bytes, sha256(output / SUMS_FILE), target=target, glibc=glibc
    )


def _exported(repository: Path) -> Manifest:
    manifest = read_repository(repository)
    if manifest is None:
        raise RepositoryError(
            f"{repository} has no manifest, so nothing says what its files have to be: bundle what "
            "'bgem3 export' has written"
        )
    if ServingRecord.read(repository) is not None:
        # Its public model is made of whichever version serves.
        raise RepositoryError(
            f"'bgem3 models' has put further versions into {repository}: bundle the export of the "
            "one that you want"
        )
    return manifest


def _refuse_content(output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BundleError(
            f"{output} is there already, and no empty folder: name a new one, or remove it"
        )


def _served_files(repository: Path, manifest: Manifest, versions: Collection[str]) -> list[Path]:
    """Return the files and empty folders that some versions need.

    Left out are the folders of other versions, and what Python has compiled.
    """
    left_out = {"__pycache__"} | (manifest.versions.keys() - versions)
    return [
        path
        for path in sorted(repository.rglob("*"))
        if not left_out.intersection(path.relative_to(repository).parts)
        and (path.is_file() or not any(path.iterdir()))
    ]


def _copy_repository(
    repository: Path, files: Iterable[Path], manifest: Manifest, target: Path
) -> None:
    """Copy what is served of a repository, and check it.

    Args:
        repository: Where it is.
        files: What of it to copy.
        manifest: What the copy is to hold.
        target: Where to.

    Raises:
        RepositoryError: A file is missing, or is not what was exported.
    """
    for source in files:
        copy = target / source.relative_to(repository)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(source, copy)
    manifest.write(target)
    for version in manifest.versions.values():
        for path, expected in version.files.items():
            if not (target / path).is_file():
                raise RepositoryError(f"{repository / path} is missing: export again")
            if sha256(target / path) != expected:
                raise RepositoryError(
                    f"{repository / path} is not what the export has written: export again"
                )


def _write_contents(build: Path) -> None:
    for file in _CONTENTS.iterdir():
        shutil.copyfile(file, build / file.name)
    (build / "install.sh").chmod(0o755)
    shutil.copyfile(installer.__file__, build / "install.py")


def _description(
    repository: Path,
    manifest: Manifest,
    build: Path,
    wheels: Sequence[Wheel],
    extras: Sequence[str],
    target: Target,
    glibc: str,
) -> dict[str, Any]:
    newest = manifest.versions[manifest.newest]
    model = build / MODEL_FOLDER
    return {
        "format_version": FORMAT_VERSION,
        "project": f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}",
        "python": target.python,
        "machine": target.machine,
        "glibc": glibc,
        "extras": sorted(extras),
        "installed_bytes": sum(map(_unpacked_bytes, wheels)) + _size_bytes(model),
        "model": {
            "name": repository.resolve().name,
            "source": newest.source,
            "revision": newest.revision,
            "demo": newest.demo,
            "precision": manifest.model.precision,
            "versions": sorted(manifest.versions, key=int),
            "empty_folders": sorted(
                path.relative_to(model).as_posix()
                for path in model.rglob("*")
                if path.is_dir() and not any(path.iterdir())
            ),
        },
    }


def _unpacked_bytes(wheel: Wheel) -> int:
    with zipfile.ZipFile(wheel.file) as archive:
        return sum(item.file_size for item in archive.infolist())


def _write_sums(build: Path) -> None:
    """Write the checksums of all files, as sha256sum does; a bundle without them is not whole."""
    files = sorted(path for path in build.rglob("*") if path.is_file())
    lines = [f"{sha256(file)}  {file.relative_to(build).as_posix()}\n" for file in files]
    (build / SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
