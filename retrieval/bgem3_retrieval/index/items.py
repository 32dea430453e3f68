"""What travels from the files to the store, in one stream and in order.

The chunks of a document come first, then that it is finished; what is said of a file comes where
the file was read. So whoever has written all that came before an item may believe the item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.documents.document import Document, MetadataValue
from bgem3_retrieval.index.states import Known


@dataclass(frozen=True)
class Read:
    """A document that is to be split and encoded.

    Attributes:
        document: The text.
        fingerprint: Of its state.
        known: What the store has of it.
    """

    document: Document
    fingerprint: str
    known: Known


@dataclass(frozen=True)
class Unchanged:
    """A document whose chunks are all there already."""

    source: str
    fingerprint: str
    known: Known


@dataclass(frozen=True)
class Unread:
    """A file or a document that could not be read."""

    source: str
    reason: str


@dataclass(frozen=True)
class Passed:
    """More of a file is read, and what was in it came before.

    Attributes:
        format_name: The file's suffix.
        file_bytes: How many more of its bytes.
        text_bytes: Of the text in them that was to be encoded.
    """

    format_name: str
    file_bytes: int
    text_bytes: int


@dataclass(eq=False)
class Pending:
    """A document that is split, until the last of its chunks is written; its text is gone.

    Attributes:
        source: The document's.
        fingerprint: Of its state.
        known: What the store has of it from before.
        metadata: The document's.
        chunk_count: How many chunks it has.
        refusal: Why the server does not take it; None as long as it does.
    """

    source: str
    fingerprint: str
    known: Known
    metadata: Mapping[str, MetadataValue]
    chunk_count: int = 0
    refusal: str | None = None


@dataclass(frozen=True)
class Piece:
    """A chunk that is to be encoded."""

    pending: Pending
    chunk: Chunk


@dataclass(frozen=True)
class Finished:
    """All chunks of a document came before."""

    pending: Pending


Event: TypeAlias = Unchanged | Unread | Passed | Finished
ReadItem: TypeAlias = Read | Unchanged | Unread | Passed
SplitItem: TypeAlias = Piece | Event
