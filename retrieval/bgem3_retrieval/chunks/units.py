"""A document as the units that chunks are made of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bgem3_retrieval.chunks.boundaries import (
    Boundary,
    cut_at_or_before,
    line_ends,
    sentence_ends,
)
from bgem3_retrieval.documents.document import Block, Document

# "1." and "(2)" are no sentences.
_NUMBER_CHARACTERS: Final = 6


@dataclass(slots=True)
class Section:
    """What stands under a heading, or the whole document.

    Attributes:
        headings: The path to it, its own heading included.
        level: Its heading's; 0 of the document.
        end: Where it ends in the text.
    """

    headings: tuple[str, ...]
    level: int
    end: int


@dataclass(slots=True)
class Unit:
    """A sentence, a heading, a line of a table or of code; or a piece of one that is too long.

    Attributes:
        begin: Where it begins in the document's text; not with white space.
        end: Where it ends.
        boundary: What ends before it.
        section: What it is part of.
        scope: What a chunk that begins with it is all part of.
        heading: Whether it is one.
        page: The page that it begins on.
        tokens: Its own, without special ones.
        gap_tokens: Of what is between the unit before and this one.
    """

    begin: int
    end: int
    boundary: Boundary
    section: Section
    scope: Section
    heading: bool
    page: int | None
    tokens: int = 0
    gap_tokens: int = 0


class Outline:
    """A document's units and sections.

    A chunk goes on into the next section while all of it stands under the same parent heading:
    that is the unit's ``scope``.
    """

    def __init__(self, document: Document) -> None:
        """Divide a document; nothing is counted yet."""
        self.document = document
        self._text = document.text
        self._root = Section((), 0, len(document.text))
        self._open = [self._root]
        self._tops: list[int] = []
        self.units = list(self._divide())

    def next_top(self, place: int) -> int:
        """Return where the first heading of level 1 or 2 behind ``place`` begins, or the end."""
        index = bisect_right(self._tops, place)
        return self._tops[index] if index < len(self._tops) else self._root.end

    def texts(self) -> Iterator[str]:
        """Yield what has to be counted: the units, and what is between them."""
        for index, unit in enumerate(self.units):
            yield self._text[unit.begin : unit.end]
            if gap := self._gap(index):
                yield gap

    def take_counts(self, count: Callable[[str], int]) -> None:
        """Fill in the units' tokens.

        Args:
            count: Returns the tokens of each text that :meth:`texts` yields, without special ones.
        """
        for index, unit in enumerate(self.units):
            unit.tokens = count(self._text[unit.begin : unit.end])
            unit.gap_tokens = count(self._gap(index))

    def divide(self, unit: Unit, most_characters: int) -> list[Unit]:
        """Return the pieces of a unit, of about so many characters each, not yet counted.

        A longer grapheme cluster stays whole, unless there is nothing else.
        """
        pieces: list[Unit] = []
        begin, boundary = unit.begin, unit.boundary
        while unit.end - begin > most_characters:
            target = begin + most_characters
            place, ends = cut_at_or_before(self._text, begin, target, unit.end)
            if place == unit.end:
                if pieces:
                    break
                place = target
            pieces.append(self._piece(unit, begin, place, boundary))
            begin, boundary = pieces[-1].end, ends
            while self._text[begin].isspace():
                begin += 1
        pieces.append(self._piece(unit, begin, unit.end, boundary))
        return pieces

    def halves(self, unit: Unit) -> list[Unit]:
        """Return a unit of several characters in two or three, its tokens shared by length."""
        pieces = self.divide(unit, (unit.end - unit.begin) // 2)
        return [self._share(unit, piece) for piece in pieces]

    def tail(self, unit: Unit, part: float) -> Unit | None:
        """Return the end of a counted unit of several characters.

        Args:
            unit: The unit.
            part: About how much of it; some of it is left out in any case.

        Returns:
            None where it would begin inside a grapheme cluster.
        """
        target = unit.end - round((unit.end - unit.begin) * part)
        target = min(max(target, unit.begin + 1), unit.end - 1)
        place, boundary = cut_at_or_before(self._text, unit.begin, target, unit.end)
        if place == unit.end:
            return None
        return self._share(unit, self._piece(unit, place, unit.end, boundary))

    def _divide(self) -> Iterator[Unit]:
        blocks = [block for block in self.document.blocks if self._has_text(block)]
        position = 0
        after_heading = False
        while position < len(blocks):
            if blocks[position].kind == "heading":
                run = _headings(blocks, position)
                yield from self._heading_units(run)
                position += len(run)
                after_heading = True
            else:
                boundary = Boundary.GLUED if after_heading else Boundary.PARAGRAPH
                yield from self._block_units(blocks[position], boundary)
                position += 1
                after_heading = False

    def _heading_units(self, run: Sequence[Block]) -> Iterator[Unit]:
        """Open the sections of headings that follow each other without text between them.

        They are one place to cut: what is before the first of them is before all of them.
        """
        begin = run[0].begin
        parents = []
        sections = []
        for block in run:
            while len(self._open) > 1 and self._open[-1].level >= block.level:
                self._open.pop().end = begin
            parents.append(len(self._open) - 1)
            name = " ".join(self._text[block.begin : block.end].split())
            headings = (*self._open[-1].headings, name)
            self._open.append(Section(headings, block.level, self._root.end))
            sections.append(self._open[-1])
        scope = self._open[min(parents)]
        level = min(block.level for block in run)
        if level <= 2:
            self._tops.append(begin)
        boundary = Boundary.before_heading(level)
        for block, section in zip(run, sections, strict=True):
            unit = Unit(block.begin, block.end, boundary, section, scope, True, block.page)
            if (trimmed := self._trimmed(unit)) is not None:
                yield trimmed
            boundary = Boundary.GLUED

    def _block_units(self, block: Block, boundary: Boundary) -> Iterator[Unit]:
        section = self._open[-1]
        scope = self._open[-2] if len(self._open) > 1 else section
        find_ends = line_ends if block.kind in ("table", "code") else sentence_ends
        begin = block.begin
        for end in (*find_ends(self._text, block.begin, block.end), block.end):
            if end < block.end and self._is_number(begin, end):
                continue
            unit = Unit(begin, end, boundary, section, scope, False, block.page)
            if (trimmed := self._trimmed(unit)) is not None:
                yield trimmed
                boundary = Boundary.SENTENCE
            begin = end

    def _gap(self, index: int) -> str:
        """Return the markup between a unit and the one before; often nothing."""
        if index == 0:
            return ""
        return self._text[self.units[index - 1].end : self.units[index].begin].strip()

    def _piece(self, unit: Unit, begin: int, end: int, boundary: Boundary) -> Unit:
        piece = self._trimmed(replace(unit, begin=begin, end=end, boundary=boundary))
        assert piece is not None  # cuts are behind text, and a unit's end is text
        return piece

    def _share(self, unit: Unit, piece: Unit) -> Unit:
        """Give a piece of a counted unit its share of the tokens, by length."""
        piece.tokens = -(-unit.tokens * (piece.end - piece.begin) // (unit.end - unit.begin))
        if piece.begin > unit.begin:
            piece.gap_tokens = 0
        return piece

    def _has_text(self, block: Block) -> bool:
        return bool(self._text[block.begin : block.end].strip())

    def _is_number(self, begin: int, end: int) -> bool:
        return end - begin <= _NUMBER_CHARACTERS and not any(
            character.isalpha() for character in self._text[begin:end]
        )

    def _trimmed(self, unit: Unit) -> Unit | None:
        """Take white space off its ends; None where nothing else is there."""
        while unit.begin < unit.end and self._text[unit.begin].isspace():
            unit.begin += 1
        while unit.end > unit.begin and self._text[unit.end - 1].isspace():
            unit.end -= 1
        return unit if unit.begin < unit.end else None


def _headings(blocks: Sequence[Block], position: int) -> Sequence[Block]:
    end = position
    while end < len(blocks) and blocks[end].kind == "heading":
        end += 1
    return blocks[position:end]
