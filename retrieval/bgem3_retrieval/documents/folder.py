"""Files below folders, in an order that does not change, under names that do not either."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_retrieval.documents.formats import HEAD_BYTES, format_by_content, format_by_suffix
from bgem3_retrieval.errors import InputFileError, UnreadableDocumentError

# Of files that programs keep for themselves; Word's lock files begin with the second.
_HIDDEN_PREFIXES: Final = (".", "~$")


@dataclass(frozen=True)
class SourceFile:
    """A file to read.

    Attributes:
        path: Where it lies.
        name: Its name in the index: see :func:`walk`.
        size_bytes: As it was when it was found.
    """

    path: Path
    name: str
    size_bytes: int

    def fingerprint(self) -> str:
        """Return the SHA-256 of its bytes, in hexadecimal digits.

        Raises:
            UnreadableDocumentError: It cannot be read.
        """
        try:
            with self.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UnreadableDocumentError(self.name, _reason(error)) from error


def walk(paths: Iterable[str | os.PathLike[str]], *, root: Path | None = None) -> Walk:
    """Return the files at some paths and below them that can be read.

    A file's name in the index is the absolute path of the argument it was found below, links
    resolved, and the path from there. So it is the same wherever the command is started, two
    folders never share a name, and a folder that was moved is another folder. Where a collection
    must survive a move, or be filled from several machines, pass the folder that names are
    relative to.

    Args:
        paths: Files and folders.
        root: Names are relative to this folder; all paths must be below it.

    Raises:
        InputFileError: There is nothing at one of the paths, or it is not below `root`.
    """
    return Walk(paths, root=root)


class Walk:
    """The files at some paths and below them, and what was passed over.

    Every iteration looks anew. Files come sorted by name in each folder, folders among them.
    Links are followed, and no file or folder is visited twice, whatever links lead to it. In
    folders hidden files are passed over, and files of no format that can be read; those without a
    suffix are looked into. A file that was named by itself is always taken.

    Attributes:
        hidden: Hidden files and folders passed over.
        repeated: Files and folders passed over because they were visited by another name.
        unknown: Files of no format that can be read, counted by suffix in lower case.
        problems: What should have been visited and could not be.
    """

    def __init__(
        self, paths: Iterable[str | os.PathLike[str]], *, root: Path | None = None
    ) -> None:
        self._root = root.resolve() if root is not None else None
        self._given = tuple(self._existing(path) for path in paths)
        self._names = tuple(self._name(path) for path in self._given)
        self._forget()

    def __iter__(self) -> Iterator[SourceFile]:
        self._forget()
        seen: set[tuple[int, int]] = set()
        pending = list(reversed(self._given))
        while pending:
            path = pending.pop()
            try:
                status = path.stat()
                identity = (status.st_dev, status.st_ino)
                if identity in seen:
                    self.repeated += 1
                    continue
                seen.add(identity)
                if stat.S_ISDIR(status.st_mode):
                    pending.extend(reversed(self._inside(path)))
                elif not stat.S_ISREG(status.st_mode):
                    self._report(path, "is neither a file nor a folder")
                elif self._is_wanted(path):
                    yield SourceFile(path, self._name(path), status.st_size)
            except OSError as error:
                self._report(path, _reason(error))

    def covers(self, source: str) -> bool:
        """Whether a source would have been found if it were still there.

        It is at or below one of the paths, and not below something that could not be visited: a
        folder without permission is no reason to forget what is in it. Ask after an iteration.

        Args:
            source: A document's, as it is in the index.
        """
        return any(_is_below(source, name) for name in self._names) and not any(
            _is_below(source, problem.source) for problem in self.problems
        )

    def _forget(self) -> None:
        self.hidden = 0
        self.repeated = 0
        self.unknown: Counter[str] = Counter()
        self.problems: list[UnreadableDocumentError] = []

    def _existing(self, given: str | os.PathLike[str]) -> Path:
        path = Path(given)
        try:
            resolved = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
            reason = _reason(error) if isinstance(error, OSError) else "is a circle of links"
            raise InputFileError(f"{path}: {reason}") from error
        if self._root is not None and not resolved.is_relative_to(self._root):
            raise InputFileError(
                f"{path}: is not below {self._root}, the folder that names are relative to"
            )
        return resolved

    def _name(self, path: Path) -> str:
        shown = path if self._root is None else path.relative_to(self._root)
        # A store keeps names as UTF-8, which a file's name need not be.
        return os.fsencode(shown.as_posix()).decode(errors="backslashreplace")

    def _inside(self, folder: Path) -> list[Path]:
        names = sorted(os.listdir(folder))
        visible = [name for name in names if not name.startswith(_HIDDEN_PREFIXES)]
        self.hidden += len(names) - len(visible)
        return [folder / name for name in visible]

    def _is_wanted(self, path: Path) -> bool:
        if path in self._given or format_by_suffix(path) is not None:
            return True
        if not path.suffix:
            with path.open("rb") as stream:
                if format_by_content(stream.read(HEAD_BYTES)) is not None:
                    return True
        self.unknown[path.suffix.lower()] += 1
        return False

    def _report(self, path: Path, reason: str) -> None:
        self.problems.append(UnreadableDocumentError(self._name(path), reason))


def display_name(source: str) -> str:
    """Return a source's name as people in the current folder would write it."""
    folder = Path.cwd().as_posix().rstrip("/") + "/"
    return source.removeprefix(folder) or source


def _is_below(source: str, name: str) -> bool:
    if name == ".":  # the folder that names are relative to
        return True
    return source == name or source.startswith((name.rstrip("/") + "/", name + "#"))


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
