"""Documents to chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.chunks.boundaries import Boundary
from bgem3_retrieval.chunks.chunk import Chunk
from bgem3_retrieval.chunks.options import ChunkOptions
from bgem3_retrieval.chunks.packing import Draft, Packing
from bgem3_retrieval.chunks.units import Outline, Unit
from bgem3_retrieval.documents.document import Document

CountTokens: TypeAlias = Callable[[Sequence[str]], NDArray[np.int32]]
"""``Client.count_tokens``: int32 [N] for N texts, one at least, special tokens included."""

DEFAULT_OPTIONS: Final = ChunkOptions()
# Pieces of a sentence that is too long have so many characters for each token of a chunk: some 30
# of them fill one with English text, and half a dozen with Chinese.
_PIECE_CHARACTERS: Final = 1 / 4
# Headings that take more of a chunk are cut from what they head.
_HEADINGS_PART: Final = 1 / 2


class Splitter:
    """Cuts documents into chunks along their structure.

    docs/chunks.md has the rules. The same documents give the same chunks, alone or with others.
    """

    def __init__(self, count_tokens: CountTokens, options: ChunkOptions = DEFAULT_OPTIONS) -> None:
        """Make one.

        Args:
            count_tokens: Counts as the model does, special tokens included: a client's.
            options: The size of chunks.
        """
        self._count_tokens = count_tokens
        self._options = options

    def split(self, documents: Sequence[Document]) -> list[list[Chunk]]:
        """Return the chunks of each document, in the order of its text.

        All documents' texts are counted together: a few calls whatever their number.

        Args:
            documents: Any number; one without text has no chunks.

        Raises:
            InvalidInputError: A text that cannot be counted, or a character with more tokens than
                a chunk may have.
            ServerError: Counting failed.
        """
        outlines = [Outline(document) for document in documents]
        if not any(outline.units for outline in outlines):
            return [[] for _ in documents]
        counted = _CountedTexts(self._count_tokens)
        self._count_units(outlines, counted)
        room = self._options.max_tokens - counted.special_tokens
        drafts = [
            Packing(outline, outline.units, room, self._options.overlap_tokens).drafts()
            for outline in outlines
        ]
        self._fit(outlines, drafts, counted)
        return [
            _chunks(outline.document, made, counted)
            for outline, made in zip(outlines, drafts, strict=True)
        ]

    def _count_units(self, outlines: Sequence[Outline], counted: _CountedTexts) -> None:
        """Count all units, and divide those that fit in no chunk."""
        most_characters = max(int(self._options.max_tokens * _PIECE_CHARACTERS), 1)
        counting: Sequence[Outline] = outlines
        while counting:
            counted.add(text for outline in counting for text in outline.texts())
            room = self._options.max_tokens - counted.special_tokens
            for outline in counting:
                outline.take_counts(counted.content_tokens)
            counting = [
                outline for outline in counting if _divide_units(outline, room, most_characters)
            ]

    def _fit(
        self, outlines: Sequence[Outline], drafts: list[list[Draft]], counted: _CountedTexts
    ) -> None:
        """Count the finished chunks, and cut those again that are too large after all.

        A text may have more tokens than its parts.
        """
        positions: Sequence[int] = range(len(outlines))
        while positions:
            counted.add(
                outlines[position].document.text[draft.begin : draft.end]
                for position in positions
                for draft in drafts[position]
            )
            cut_again = []
            for position in positions:
                outline = outlines[position]
                fitting = [self._fitting(outline, draft, counted) for draft in drafts[position]]
                if max(map(len, fitting), default=1) > 1:
                    drafts[position] = _without_repeated(list(chain.from_iterable(fitting)))
                    cut_again.append(position)
            positions = cut_again

    def _fitting(self, outline: Outline, draft: Draft, counted: _CountedTexts) -> list[Draft]:
        """Return the draft, or, where it is too large, several of what it holds."""
        tokens = counted.content_tokens(outline.document.text[draft.begin : draft.end])
        room = self._options.max_tokens - counted.special_tokens
        if tokens <= room:
            return [draft]
        # A part that counts as nothing counts for something beside others.
        units = [replace(unit, tokens=max(unit.tokens, 1)) for unit in draft.units]
        if len(units) == 1 and draft.end - draft.begin == 1:
            raise _too_large(outline, units[0])
        estimated = Draft(units).tokens
        fitting = max(min(room * estimated // tokens, estimated - 1), 1)
        parts = -(-estimated // fitting)
        while len(units) == 1 or any(_divisible(unit, fitting) for unit in units):
            units = [
                half
                for unit in units
                for half in (
                    outline.halves(unit)
                    if len(units) == 1 or _divisible(unit, fitting)
                    else (unit,)
                )
            ]
        # Parts of like size, so that none has little more than what the next chunk repeats.
        overlap = self._options.overlap_tokens
        return Packing(
            outline, units, min(fitting, -(-estimated // parts) + overlap), overlap
        ).drafts()


class _CountedTexts:
    """Texts and their numbers of tokens; none is counted twice."""

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count_tokens = count_tokens
        self._tokens: dict[str, int] = {}

    def add(self, texts: Iterable[str]) -> None:
        """Count those that are new, all in one call; the empty text too."""
        new = [text for text in dict.fromkeys(chain(("",), texts)) if text not in self._tokens]
        if new:
            counts = self._count_tokens(new)
            self._tokens.update(zip(new, counts.tolist(), strict=True))

    @property
    def special_tokens(self) -> int:
        """How many tokens every text has beside its own."""
        return self._tokens[""]

    def content_tokens(self, text: str) -> int:
        """Return the tokens of a text that was added, without special ones."""
        return self._tokens[text] - self._tokens[""]

    def tokens(self, text: str) -> int:
        """Return the tokens of a text that was added."""
        return self._tokens[text]


def _divide_units(outline: Outline, room_tokens: int, most_characters: int) -> bool:
    """Divide the units that fit in no chunk; return whether there were any."""
    units: list[Unit] = []
    divided = False
    heading_tokens = 0
    for unit in outline.units:
        # A unit has to fit beside the headings right before it, unless those take too much.
        before = unit.gap_tokens + heading_tokens if unit.boundary == Boundary.GLUED else 0
        room = room_tokens - before if before <= room_tokens * _HEADINGS_PART else room_tokens
        heading_tokens = before + unit.tokens if unit.heading else 0
        characters = unit.end - unit.begin
        if unit.tokens <= room or (characters == 1 and unit.tokens <= room_tokens):
            units.append(unit)
            continue
        if characters == 1:
            raise _too_large(outline, unit)
        units += outline.divide(unit, min(most_characters, characters // 2))
        divided = True
    outline.units = units
    return divided


def _divisible(unit: Unit, most_tokens: int) -> bool:
    return unit.tokens > most_tokens and unit.end - unit.begin > 1


def _too_large(outline: Outline, unit: Unit) -> InvalidInputError:
    character = ord(outline.document.text[unit.begin])
    return InvalidInputError(
        f"{outline.document.source}: the character U+{character:04X} at {unit.begin} has "
        f"{unit.tokens} tokens, more than a chunk may have: allow larger chunks"
    )


def _without_repeated(drafts: Sequence[Draft]) -> list[Draft]:
    """Leave out drafts that neighbours cover, so that begins and ends both rise."""
    kept: list[Draft] = []
    for draft in reversed(drafts):
        if not kept or draft.begin < kept[-1].begin:
            kept.append(draft)
    rising: list[Draft] = []
    for draft in reversed(kept):
        if not rising or draft.end > rising[-1].end:
            rising.append(draft)
    return rising


def _chunks(document: Document, drafts: Sequence[Draft], counted: _CountedTexts) -> list[Chunk]:
    chunks = []
    for position, draft in enumerate(drafts):
        text = document.text[draft.begin : draft.end]
        chunks.append(
            Chunk(
                document.source,
                position,
                draft.begin,
                draft.end,
                text,
                draft.headings,
                counted.tokens(text),
                document.title,
                draft.units[0].page,
            )
        )
    return chunks
