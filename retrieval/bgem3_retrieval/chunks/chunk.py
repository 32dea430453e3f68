"""A passage of a document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """A passage: what is encoded, found and shown.

    Attributes:
        source: The document's.
        position: Its number among the document's chunks, from 0.
        begin: Where it begins in the document's text, in characters.
        end: Where it ends: ``document.text[begin:end] == text``.
        text: The passage.
        headings: The headings that it stands under, outermost first.
        tokens: What the model counts, special tokens included.
        title: The document's.
        page: The page that it begins on, from 1; None where the format has no pages.
    """

    source: str
    position: int
    begin: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    tokens: int = 0
    title: str = ""
    page: int | None = None
