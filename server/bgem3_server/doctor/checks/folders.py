"""Folders and files of keys: may this user read and write them, and may nobody else."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bgem3_client.cache_folder import cache_folder
from bgem3_client.triton_key import key_file
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.checks.model_files import no_repository
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Subject

_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SHOWN: Final = 3


def repository(subject: Subject) -> Iterator[Finding]:
    """Whether this user can read every file of the repository, as Triton's user has to."""
    if subject.repository is None or not os.path.isdir(subject.repository):
        yield not_applicable(no_repository(subject))
        return
    unreadable = [str(path) for path in _unreadable(subject.repository)]
    user = _name(os.geteuid())
    if unreadable:
        yield problem(
            Code.FILE_UNREADABLE,
            f"{user} cannot read {_some(unreadable)}",
            f"sudo chown -R {user} {subject.repository}, or sudo chmod -R a+rX "
            f"{subject.repository}; the user who runs Triton has to read it, in NVIDIA's container "
            "1000",
            files=unreadable,
        )
        return
    yield ok(f"{user} can read all of {subject.repository}")


def _unreadable(folder: Path) -> Iterator[Path]:
    """Yield what cannot be opened; files are, since permission bits do not say all."""
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        yield folder
        return
    for entry in entries:
        try:
            if entry.is_dir():
                yield from _unreadable(entry)
            elif entry.is_file():
                entry.open("rb").close()
        except PermissionError:
            yield entry


def cache(subject: Subject) -> Iterator[Finding]:
    """Whether the cache folder is this user's own, and can be written to."""
    del subject
    folder, user = cache_folder(), os.geteuid()
    place = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    # What root has left in a user's cache the user cannot replace; it takes one sudo.
    of_others = [
        f"{path} ({_name(path.lstat().st_uid)})"
        for path in _with_children(folder)
        if path.lstat().st_uid != user
    ]
    if of_others:
        yield problem(
            Code.CACHE_OWNED_BY_ANOTHER,
            f"not all of the cache belongs to {_name(user)}: {_some(of_others)}",
            f"sudo chown -R {_name(user)} {folder}; bgem3 was run with sudo once, which it never "
            "needs"
            if user
            else "run bgem3 as the user whose cache it is, without sudo, or set XDG_CACHE_HOME",
            files=of_others,
        )
        return
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        yield problem(
            Code.CACHE_NOT_WRITABLE,
            f"the cache {folder} cannot be written to: {place}: {error.strerror}",
            "set XDG_CACHE_HOME to a folder that can be written to; a container with a read-only "
            "root needs a volume or a tmpfs for it",
            path=str(place),
        )
        return
    state = "can be written to" if place == folder else "is not there yet, and can be made"
    yield ok(f"the cache {folder} {state}", path=str(folder))


def _with_children(folder: Path) -> Iterator[Path]:
    """Yield a folder and what is in it, two levels deep: below that one owner made it all."""
    # Not Path.exists(), which raises where a folder above may not be entered.
    if not os.path.exists(folder):
        return
    yield folder
    for pattern in ("*", "*/*"):
        yield from sorted(folder.glob(pattern))


def keys(subject: Subject) -> Iterator[Finding]:
    """Whether files that hold keys are read by their owner alone."""
    kept = key_file(0).parent
    files = sorted(kept.iterdir()) if os.access(kept, os.R_OK | os.X_OK) else []
    service = subject.service_settings
    named = [path for path in (service.api_keys_file, service.tls_key) if path is not None]
    faults = False
    for path in [*files, *named]:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            path.open("rb").close()
        except FileNotFoundError as error:
            if path in files:
                continue  # a Triton has ended meanwhile
            faults = True
            yield _unusable(path, error)
            continue
        except OSError as error:
            faults = True
            yield _unusable(path, error)
            continue
        if mode & _FOR_OTHERS:
            faults = True
            finding = problem if path in files else warning
            yield finding(
                Code.KEY_FILE_OPEN,
                f"{path} holds a key, and others than its owner may use it (mode {mode:04o})",
                f"chmod 600 {path}, and replace the key: somebody may have read it",
                path=str(path),
                mode=f"{mode:04o}",
            )
    if not faults:
        number = len(files) + len(named)
        yield ok(
            f"{number} files with keys are readable by their owner alone"
            if number
            else "there are no files with keys"
        )


def _unusable(path: Path, error: OSError) -> Finding:
    return problem(
        Code.KEY_FILE_UNREADABLE,
        f"{path} cannot be read: {error.strerror}",
        f"give it to the user who runs bgem3: sudo chown {_name(os.geteuid())} {path}",
        path=str(path),
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"  # as in containers


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


CHECKS: Final = (
    Check("folders.repository", repository),
    Check("folders.cache", cache),
    Check("folders.keys", keys),
)
