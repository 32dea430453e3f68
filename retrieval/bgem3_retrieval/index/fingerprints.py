"""Short names for the state of a document: equal ones have equal chunks with equal vectors."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from bgem3_retrieval.documents.document import Document
from bgem3_retrieval.documents.reader import READER_VERSION
from bgem3_retrieval.stores.collection import CollectionSpec

# Counts up when the same document comes to be cut or written in another way.
_VERSION: Final = 1


class Fingerprints:
    """Of the documents of one collection.

    What decides the chunks and is the same for the whole collection, its model and its chunk
    options, is in every fingerprint.
    """

    def __init__(self, spec: CollectionSpec | None) -> None:
        """None: of a collection that is not there yet, and has nothing to compare with."""
        self._collection = [_VERSION] if spec is None else _parts(spec)

    def of_file(self, content: str) -> str:
        """Return the fingerprint of a file that is one document.

        Args:
            content: The fingerprint of its bytes.
        """
        return _digest([*self._collection, READER_VERSION, content])

    def of_document(self, document: Document) -> str:
        """Return the fingerprint of a document by what was read: of a row of a table.

        The other rows may change, and this one stays as it is.
        """
        blocks = [[b.kind, b.begin, b.end, b.level, b.page] for b in document.blocks]
        metadata = sorted(document.metadata.items())
        return _digest([*self._collection, document.text, document.title, blocks, metadata])


def _parts(spec: CollectionSpec) -> list[str | int]:
    return [_VERSION, spec.model, spec.max_tokens, spec.overlap_tokens]


def _digest(parts: list[object]) -> str:
    # The types of values are kept apart: 1, 1.0, true and "1" are four.
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
