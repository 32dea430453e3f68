"""The files that are to be in a collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from bgem3_retrieval.documents.folder import SourceFile, Walk, display_name, walk
from bgem3_retrieval.documents.reader import ReaderOptions, supported_suffixes
from bgem3_retrieval.errors import InputFileError, UnreadableDocumentError
from bgem3_retrieval.index.selection import Selection

_TABLE_SUFFIXES: Final = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Corpus:
    """Files and folders, and how they are read.

    Attributes:
        paths: Files and folders.
        selection: Which files of the folders.
        reading: How they are read.
        root: Names in the index are relative to this folder; None makes them absolute.
    """

    paths: Sequence[Path]
    selection: Selection = field(default_factory=Selection)
    reading: ReaderOptions = field(default_factory=ReaderOptions)
    root: Path | None = None

    def look(self) -> Listing:
        """Find the files.

        Raises:
            InputFileError: There is nothing at one of the paths.
        """
        return Listing(self)


class Listing:
    """The files of a corpus, as they were found.

    Attributes:
        files: In a stable order, each once.
        unknown: Files of folders that are of no format that can be read, counted by suffix.
        problems: What should have been visited and could not be.
    """

    def __init__(self, corpus: Corpus) -> None:
        """Look for the files.

        Raises:
            InputFileError: There is nothing at one of the paths.
        """
        self._corpus = corpus
        self._walk: Walk = walk(corpus.paths, root=corpus.root)
        self._folders = tuple(_name(path, corpus.root) for path in corpus.paths)
        self.files: list[SourceFile] = [file for file in self._walk if self._is_selected(file.name)]
        self.unknown: Counter[str] = self._walk.unknown
        self.problems: list[UnreadableDocumentError] = self._walk.problems

    def covers(self, source: str) -> bool:
        """Whether a document would have been found if it were still there."""
        return self._walk.covers(source) and self._is_selected(_file_of(source))

    def check_not_empty(self) -> None:
        """Refuse to work on nothing.

        Raises:
            InputFileError: There are no files.
        """
        if not self.files:
            shown = ", ".join(map(str, self._corpus.paths))
            raise InputFileError(
                f"there is nothing to read in {shown}: files of folders are read when they end in "
                f"{' '.join(supported_suffixes())}, and are not hidden or excluded"
            )

    def check_not_emptied(self, sources: Collection[str], collection: str) -> None:
        """Refuse to take a folder for emptied that may not be mounted.

        Args:
            sources: The documents that are in the collection.
            collection: Its name, for the message.

        Raises:
            InputFileError: There is no file below one of the paths, but there were some.
        """
        for folder, path in zip(self._folders, self._corpus.paths, strict=True):
            if any(_below(file.name, folder) is not None for file in self.files):
                continue
            lost = sum(_below(source, folder) is not None for source in sources)
            if lost:
                raise InputFileError(
                    f"{path} has no file to read, and {lost:,} documents from there are in "
                    f"collection {collection!r}: is it the right folder, and mounted? They stay as "
                    f"long as it is empty; 'bgem3 collections drop {collection}' removes all"
                )

    def _is_selected(self, name: str) -> bool:
        """Whether a file is selected by its path from the folder that was given."""
        inside = [_below(name, folder) for folder in self._folders]
        # Empty: it was given itself.
        return any(
            part is not None and (not part or self._corpus.selection.covers(part))
            for part in inside
        )


def shown(source: str) -> str:
    """Return a document's name as people in the current folder would write it."""
    return display_name(source)


def _name(path: Path, root: Path | None) -> str:
    resolved = path.resolve()
    return (resolved if root is None else resolved.relative_to(root.resolve())).as_posix()


def _below(name: str, folder: str) -> str | None:
    """The path from a folder to what is below it; None where it is not."""
    if folder == ".":
        return name
    if name == folder or name.startswith(folder + "#"):
        return ""
    prefix = folder.rstrip("/") + "/"
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def _file_of(source: str) -> str:
    """The file that a document is in: of a row the table."""
    place = source.find("#")
    while place >= 0:
        if PurePosixPath(source[:place]).suffix.lower() in _TABLE_SUFFIXES:
            return source[:place]
        place = source.find("#", place + 1)
    return source
