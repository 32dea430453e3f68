"""Documents into chunks, several at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.index.items import Finished, Pending, Piece, Read, ReadItem, SplitItem

# One call counts the tokens of so much text: enough to be worth a call, little enough to keep.
_WINDOW_CHARACTERS: Final = 200_000
_WINDOW_ITEMS: Final = 64


class SplitsDocuments(Protocol):
    """Cuts documents; see :class:`bgem3_retrieval.chunks.splitter.Splitter`."""

    def split(self, documents: Sequence[Document]) -> list[list[Chunk]]:
        """Return the chunks of each document."""


@dataclass
class Window:
    """Neighbouring items whose documents are split at once."""

    items: list[ReadItem] = field(default_factory=list)
    characters: int = 0

    def add(self, item: ReadItem) -> None:
        """Take one more."""
        self.items.append(item)
        if isinstance(item, Read):
            self.characters += len(item.document.text)

    @property
    def full(self) -> bool:
        """Whether it has enough."""
        return len(self.items) >= _WINDOW_ITEMS or self.characters >= _WINDOW_CHARACTERS


def windows(items: Iterable[ReadItem]) -> Iterator[Window]:
    """Yield all items in order, some at a time; a large document comes with few others."""
    window = Window()
    for item in items:
        window.add(item)
        if window.full:
            yield window
            window = Window()
    if window.items:
        yield window


def split_window(window: Window, splitter: SplitsDocuments) -> list[SplitItem]:
    """Return the items with each document replaced by its chunks, and then that it is finished.

    Raises:
        ServerError: The server did not count the tokens.
    """
    documents = [item.document for item in window.items if isinstance(item, Read)]
    cut = iter(_split(documents, splitter))
    items: list[SplitItem] = []
    for item in window.items:
        if not isinstance(item, Read):
            items.append(item)
            continue
        chunks = next(cut)
        document = item.document
        pending = Pending(document.source, item.fingerprint, item.known, document.metadata)
        if isinstance(chunks, InvalidInputError):
            pending.refusal = str(chunks)
        else:
            pending.chunk_count = len(chunks)
            items += [Piece(pending, chunk) for chunk in chunks]
        items.append(Finished(pending))
    return items


def _split(
    documents: Sequence[Document], splitter: SplitsDocuments
) -> list[list[Chunk] | InvalidInputError]:
    if not documents:
        return []
    try:
        return list(splitter.split(documents))
    except InvalidInputError as error:
        if len(documents) == 1:
            return [error]
    # One of them is refused, and the others must not suffer for it.
    return [one for document in documents for one in _split([document], splitter)]
