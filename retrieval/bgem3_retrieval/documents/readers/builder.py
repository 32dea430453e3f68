"""A document put together block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from bgem3_retrieval.documents.document import Block, BlockKind, Document, MetadataValue
from bgem3_retrieval.documents.readers.characters import clean
from bgem3_retrieval.errors import UnreadableDocumentError

NO_TEXT: Final = "has no text"

# An empty line; and in Chinese a line that begins with wide spaces.
_PARAGRAPH_END: Final = re.compile(r"\n(?:[^\S\n]*\n)+|\n(?=\u3000)")


class DocumentBuilder:
    """Collects blocks; the text that they make has an empty line between them.

    List items that follow each other have a line each.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._top_heading = ""

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None) -> None:
        """Add a block; nothing where its text is nothing but white space."""
        text = clean(text).strip()
        if not text:
            return
        if self._blocks:
            in_list = kind == "list_item" and self._blocks[-1].kind == "list_item"
            self._append("\n" if in_list else "\n\n")
        begin = self._length
        self._append(text)
        self._blocks.append(Block(kind, begin, self._length, level, page))
        if kind == "heading" and level == 1 and not self._top_heading:
            self._top_heading = text

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    def build(
        self,
        source: str,
        *,
        title: str = "",
        metadata: Mapping[str, MetadataValue] | None = None,
        empty: str = NO_TEXT,
    ) -> Document:
        """Return the document.

        Args:
            source: Its name.
            title: The first heading of level 1 if empty.
            metadata: Nothing if None.
            empty: The reason of the error.

        Raises:
            UnreadableDocumentError: There is no block.
        """
        if not self._blocks:
            raise UnreadableDocumentError(source, empty)
        return Document(
            source=source,
            text=self.text,
            blocks=tuple(self._blocks),
            title=" ".join(clean(title).split()) or " ".join(self._top_heading.split()),
            metadata=dict(metadata or {}),
        )

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def paragraphs(text: str, begin: int = 0) -> Iterator[Block]:
    """Yield the paragraphs of a plain text: parts with an empty line between them.

    Args:
        text: As :func:`~bgem3_retrieval.documents.readers.characters.clean` left it.
        begin: Where it begins in the document.
    """
    part_begin = 0
    for separator in _PARAGRAPH_END.finditer(text):
        yield from _paragraph(text, part_begin, separator.start(), begin)
        part_begin = separator.end()
    yield from _paragraph(text, part_begin, len(text), begin)


def _paragraph(text: str, begin: int, end: int, offset: int) -> Iterator[Block]:
    part = text[begin:end]
    inner = part.strip()
    if inner:
        begin += len(part) - len(part.lstrip())
        yield Block("paragraph", offset + begin, offset + begin + len(inner))
