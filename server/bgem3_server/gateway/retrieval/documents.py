"""Documents out of a request's texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, TypeAlias

from bgem3_retrieval.documents.document import Document, MetadataValue
from bgem3_retrieval.index.report import Skipped

TextFormat: TypeAlias = Literal["text", "markdown", "html"]

_SUFFIXES: Final[Mapping[TextFormat, str]] = {"text": ".txt", "markdown": ".md", "html": ".html"}


@dataclass(frozen=True)
class GivenDocument:
    """A text as a request brings it.

    Attributes:
        source: Its name in the index.
        text: In its format.
        format: How its structure is told.
        title: In the place of the text's own, if it is not empty.
        metadata: Beside the text's own, and before it.
    """

    source: str
    text: str
    format: TextFormat = "text"
    title: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


def read_given(given: Sequence[GivenDocument]) -> tuple[list[Document], list[Skipped]]:
    """Return the documents, and what could not be read of them.

    They are read as files are, by the same readers, so that a file and its text are the same
    document.
    """
    # Imported now: the readers' libraries are there only where a store is wanted.
    from bgem3_retrieval.documents.folder import SourceFile
    from bgem3_retrieval.documents.left_out import LeftOut
    from bgem3_retrieval.documents.reader import read
    from bgem3_retrieval.errors import UnreadableDocumentError

    documents: list[Document] = []
    skipped: list[Skipped] = []

    def leave_out(part: LeftOut) -> None:
        skipped.append(Skipped(part.source, f"{part.part}: {part.reason}"))

    with TemporaryDirectory(prefix="bgem3-index-") as folder:
        for item in given:
            path = Path(folder, f"text{_SUFFIXES[item.format]}")
            # With a byte order mark, no reader guesses at the encoding, whatever a page says of it.
            content = item.text.encode("utf-8-sig")
            path.write_bytes(content)
            file = SourceFile(path, item.source, len(content))
            try:
                (document,) = read(file, report=leave_out)
            except UnreadableDocumentError as error:
                skipped.append(Skipped(error.source, error.reason))
            else:
                documents.append(
                    replace(
                        document,
                        title=item.title or document.title,
                        metadata={**document.metadata, **item.metadata},
                    )
                )
    return documents, skipped
