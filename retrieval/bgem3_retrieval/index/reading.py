"""Files held against what the store has, and read where they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.folder import SourceFile
from bgem3_retrieval.documents.reader import LeftOut, ReaderOptions, read
from bgem3_retrieval.documents.readers.seen_ids import SeenIds
from bgem3_retrieval.errors import UnreadableDocumentError
from bgem3_retrieval.index.corpus import Listing
from bgem3_retrieval.index.fingerprints import Fingerprints
from bgem3_retrieval.index.items import Passed, Read, ReadItem, Unchanged, Unread
from bgem3_retrieval.index.states import StoredStates


@dataclass(frozen=True)
class ChangedFile:
    """A file that is to be read.

    Attributes:
        file: The file.
        fingerprint: Of its bytes, for a file that is one document.
    """

    file: SourceFile
    fingerprint: str

    @property
    def format_name(self) -> str:
        """Files of the same one are alike."""
        return self.file.path.suffix.lower()


@dataclass
class Comparison:
    """What is to be done about some files.

    Attributes:
        changed: Those to read: the new ones, the changed ones, and all tables, for their rows.
        settled: What is known without reading them.
        unopened: Names of those that could not be opened: what is indexed of them stays.
    """

    changed: list[ChangedFile] = field(default_factory=list)
    settled: list[Unchanged | Unread] = field(default_factory=list)
    unopened: list[str] = field(default_factory=list)

    def file_bytes(self) -> Counter[str]:
        """Return the bytes of the files to read, by suffix."""
        sizes: Counter[str] = Counter()
        for changed in self.changed:
            sizes[changed.format_name] += changed.file.size_bytes
        return sizes

    def gone(self, states: StoredStates, listing: Listing) -> list[str]:
        """Return the documents that were not in the files, when all of them are read."""
        return [
            source
            for source in states
            if listing.covers(source)
            and not any(source == name or source.startswith(name + "#") for name in self.unopened)
        ]


def compare_files(
    listing: Listing,
    states: StoredStates,
    fingerprints: Fingerprints,
    compared: Callable[[int, int], None],
) -> Comparison:
    """Hold files against the store by their bytes.

    Args:
        listing: The files.
        states: What the store has.
        fingerprints: Of the collection.
        compared: Told of how many files it is done with, and of how many there are.
    """
    comparison = Comparison()
    for problem in listing.problems:
        comparison.settled.append(Unread(problem.source, problem.reason))
    for number, file in enumerate(listing.files, 1):
        try:
            fingerprint = fingerprints.of_file(file.fingerprint())
        except UnreadableDocumentError as error:
            comparison.settled.append(Unread(error.source, error.reason))
            comparison.unopened.append(file.name)
        else:
            if fingerprint in states.look(file.name).complete:
                known = states.take(file.name)
                comparison.settled.append(Unchanged(file.name, fingerprint, known))
            else:
                comparison.changed.append(ChangedFile(file, fingerprint))
        compared(number, len(listing.files))
    return comparison


def compare_documents(
    documents: Iterable[Document], fingerprint: Callable[[Document], str], states: StoredStates
) -> Iterator[Read | Unchanged | Unread]:
    """Hold documents against the store; of several of one source the first one counts."""
    seen = SeenIds()
    for document in documents:
        if not seen.add(document.source):
            yield Unread(document.source, "there is another one of this name before it")
            continue
        state = fingerprint(document)
        known = states.take(document.source)
        if state in known.complete:
            yield Unchanged(document.source, state, known)
        else:
            yield Read(document, state, known)


def read_files(
    files: Iterable[ChangedFile],
    states: StoredStates,
    fingerprints: Fingerprints,
    options: ReaderOptions,
) -> Iterator[ReadItem]:
    """Yield what is in some files; of a table the rows that differ from what the store has.

    What cannot be read is said, and stays among the states: it is not in the files any more.
    """
    for changed in files:
        yield from _read_file(changed, states, fingerprints, options)


def _read_file(
    changed: ChangedFile,
    states: StoredStates,
    fingerprints: Fingerprints,
    options: ReaderOptions,
) -> Iterator[ReadItem]:
    file = changed.file
    left_out: list[LeftOut] = []
    read_bytes = told_bytes = 0

    def fingerprint(document: Document) -> str:
        nonlocal read_bytes
        if document.source == file.name:
            return changed.fingerprint
        # About how far it is: a table is as large as its texts, or larger.
        read_bytes = min(read_bytes + _size_bytes(document), file.size_bytes)
        return fingerprints.of_document(document)

    try:
        documents = read(file, options, left_out.append)
        for item in compare_documents(documents, fingerprint, states):
            yield item
            yield from _told(left_out)
            text_bytes = _size_bytes(item.document) if isinstance(item, Read) else 0
            yield Passed(changed.format_name, read_bytes - told_bytes, text_bytes)
            told_bytes = read_bytes
    except UnreadableDocumentError as error:
        left_out.append(LeftOut(error.source, "", error.reason))
    yield from _told(left_out)
    yield Passed(changed.format_name, file.size_bytes - told_bytes, 0)


def _size_bytes(document: Document) -> int:
    return len(document.text.encode(errors="replace"))


def _told(left_out: list[LeftOut]) -> Iterator[Unread]:
    while left_out:
        part = left_out.pop(0)
        yield Unread(part.source, f"{part.part}: {part.reason}" if part.part else part.reason)
