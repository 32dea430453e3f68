"""What a reader makes of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MetadataValue: TypeAlias = str | int | float | bool
BlockKind: TypeAlias = Literal["heading", "paragraph", "list_item", "table", "code"]


@dataclass(frozen=True)
class Block:
    """A part of a document that belongs together.

    Attributes:
        kind: What it is.
        begin: Where it begins in the document's text, in characters.
        end: Where it ends, in characters.
        level: Of a heading, 1 to 6; 0 of anything else.
        page: The page that it begins on, from 1; None where the format has no pages.
    """

    kind: BlockKind
    begin: int
    end: int
    level: int = 0
    page: int | None = None


@dataclass(frozen=True)
class Document:
    """A text with its structure.

    Attributes:
        source: Its name in the index: the file's, and ``FILE#ID`` of a row of a table.
        text: What was read, as it is shown to people. Chunks are cut out of it.
        blocks: In the order of the text; they do not overlap. White space and markup that are in
            no block are in no chunk.
        title: Empty where it has none.
        metadata: What a search can filter by.
    """

    source: str
    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
