"""Documents out of the files of a request, and what was done with each file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bgem3_retrieval.documents.document import Document, MetadataValue
from bgem3_retrieval.documents.left_out import LeftOut
from bgem3_retrieval.index.report import IndexReport, Settlement, SilentObserver, Skipped
from bgem3_server.gateway.retrieval.uploaded_file import UploadedFile

if TYPE_CHECKING:
    from bgem3_retrieval.documents.options import ReaderOptions

_REMEMBERED: Final = 1000


@dataclass
class FileReport:
    """What was done with a file. A document is the file, or a row of a table.

    Attributes:
        file: Its name.
        added: Documents that were not there before.
        changed: Documents that took the place of an earlier state.
        unchanged: Documents that were there as they are.
        removed: Rows that are not in the table any more.
        chunks: Chunks that were encoded and written.
        skipped_count: Parts of it that were left out, or 1 for all of it.
        reason: Why the first of them was; None where none was.
    """

    file: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    skipped_count: int = 0
    reason: str | None = None

    def skip(self, reason: str, count: int = 1) -> None:
        """Count what is left out, and keep the first reason."""
        self.skipped_count += count
        if self.reason is None:
            self.reason = reason


class UploadedDocuments(SilentObserver):
    """Reads the documents of a request's files, and is told what becomes of them.

    They are read by one thread, and written by another: what each counts is put together at the
    end, by :meth:`finish`.
    """

    def __init__(
        self,
        files: Sequence[UploadedFile],
        reading: ReaderOptions,
        metadata: Mapping[str, MetadataValue],
        check: Callable[[], None],
    ) -> None:
        """Read nothing yet.

        Args:
            files: Of the request.
            reading: How they are read.
            metadata: Of every document, beside its own, and before it.
            check: Raises when the work is to end; called before each document.
        """
        self._files = files
        self._reading = reading
        self._metadata = metadata
        self._check = check
        self._reports = {file.name: FileReport(file.name) for file in files}
        self._unread = {file.name: FileReport(file.name) for file in files}
        self._skipped: list[Skipped] = []
        self._whole_tables: set[str] = set()

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents, file after file."""
        for file in self._files:
            self._check()
            yield from self._of_file(file)

    def is_gone(self, source: str) -> bool:
        """Whether a document that was not read is of a table that was, to its end."""
        name = self._file_of(source)
        return name is not None and name in self._whole_tables

    def settled(self, source: str, settlement: Settlement, chunks: int) -> None:
        """See :class:`bgem3_retrieval.index.report.Observer`."""
        report = self._reports[self._known_file_of(source)]
        setattr(report, settlement, getattr(report, settlement) + 1)
        report.chunks += chunks

    def skipped(self, skipped: Skipped) -> None:
        """See :class:`bgem3_retrieval.index.report.Observer`."""
        self._reports[self._known_file_of(skipped.source)].skip(skipped.reason)

    def finish(self, report: IndexReport) -> list[FileReport]:
        """Put what was not read into a report, and return that of each file."""
        for unread in self._unread.values():
            if unread.reason is not None:
                self._reports[unread.file].skip(unread.reason, unread.skipped_count)
        for skipped in self._skipped:
            report.skip(skipped)
        forgotten = sum(unread.skipped_count for unread in self._unread.values())
        report.skipped_count += forgotten - len(self._skipped)
        report.files = len(self._files)
        return list(self._reports.values())

    def _of_file(self, file: UploadedFile) -> Iterator[Document]:
        # Imported now: the readers' libraries are there only where a store is wanted.
        from bgem3_retrieval.documents.folder import SourceFile
        from bgem3_retrieval.documents.reader import read
        from bgem3_retrieval.errors import UnreadableDocumentError

        if not file.kept:
            self._leave_out(
                file.name,
                f"is too large: {file.size_bytes:,} bytes, where a file may have "
                f"{self._reading.max_file_bytes:,}",
            )
            return

        def leave_out(part: LeftOut) -> None:
            self._leave_out(part.source, f"{part.part}: {part.reason}")

        source = SourceFile(file.path, file.name, file.size_bytes)
        is_table = False
        try:
            for document in read(source, self._reading, leave_out):
                self._check()
                is_table |= document.source != file.name
                metadata = {**document.metadata, **self._metadata}
                yield replace(document, metadata=metadata)
        except UnreadableDocumentError as error:
            self._leave_out(file.name, error.reason)
        else:
            if is_table:
                self._whole_tables.add(file.name)

    def _leave_out(self, name: str, reason: str) -> None:
        self._unread[name].skip(reason)
        if len(self._skipped) < _REMEMBERED:
            self._skipped.append(Skipped(name, reason))

    def _known_file_of(self, source: str) -> str:
        name = self._file_of(source)
        assert name is not None, source
        return name

    def _file_of(self, source: str) -> str | None:
        """The file that a document is in: of a row the table; None where it is in none of them."""
        name = source
        while name not in self._reports:
            name, mark, _ = name.rpartition("#")
            if not mark:
                return None
        return name
