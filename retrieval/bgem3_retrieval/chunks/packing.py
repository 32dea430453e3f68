"""Units put together to chunks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile, zip_longest
from typing import Final

from bgem3_retrieval.chunks.boundaries import Boundary
from bgem3_retrieval.chunks.units import Outline, Unit

# A chunk ends before a heading from this part of its room on, and between paragraphs or sentences
# from that one on; otherwise it is as full as it gets.
_HEADING_PART: Final = 1 / 3
_PART: Final = 2 / 3
# How far an overlap may be from the one asked for, to begin with a sentence.
_LEAST_OVERLAP: Final = 1 / 2
_MOST_OVERLAP: Final = 3 / 2


@dataclass(frozen=True)
class Draft:
    """A chunk to be: neighbouring units, of which the first may lack its beginning."""

    units: Sequence[Unit]

    @property
    def begin(self) -> int:
        """Where it begins in the text."""
        return self.units[0].begin

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.units[-1].end

    @property
    def tokens(self) -> int:
        """About what it counts, special tokens left out."""
        return sum(unit.gap_tokens + unit.tokens for unit in self.units) - self.units[0].gap_tokens

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings that all of it stands under; its own where it begins with it."""
        common: tuple[str, ...] | None = None
        for unit, following in zip_longest(self.units, self.units[1:]):
            path = unit.section.headings
            # A heading stands under itself with what follows, and then that says so.
            if unit.heading and following and following.section.headings[: len(path)] == path:
                continue
            common = path if common is None else _common(common, path)
        return common or ()


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return what two paths begin with."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(name for name, _ in same)


@dataclass(frozen=True)
class _Begin:
    """Where a chunk begins.

    Attributes:
        index: Of its first unit.
        unit: That unit, or the rest of it.
    """

    index: int
    unit: Unit


class Packing:
    """Cuts counted units into drafts of a document's chunks.

    A chunk takes as many units as there is room for, and ends at the best boundary among the last
    of them. The next one begins there, and goes some sentences back.
    """

    def __init__(
        self, outline: Outline, units: Sequence[Unit], room_tokens: int, overlap_tokens: int
    ) -> None:
        """Take neighbouring units of a document.

        Args:
            outline: Of the document.
            units: Counted; any number.
            room_tokens: What fits in a chunk beside special tokens.
            overlap_tokens: About what a chunk repeats of the one before.
        """
        self._outline = outline
        self._units = units
        self._room = room_tokens
        self._overlap = overlap_tokens
        self._begins = [unit.begin for unit in units]
        # [i]: the tokens of all units before the i-th, gaps before them included.
        self._sums = [0, *accumulate(unit.gap_tokens + unit.tokens for unit in units)]

    def drafts(self) -> list[Draft]:
        """Return the drafts, in order; each unit is in one or, where they overlap, in two."""
        if not self._units:
            return []
        drafts = []
        begin = _Begin(0, self._units[0])
        end = 0
        while True:
            end = self._end(begin, end)
            drafts.append(Draft([begin.unit, *self._units[begin.index + 1 : end]]))
            if end == len(self._units):
                return drafts
            begin = self._next_begin(begin, end)

    def _end(self, begin: _Begin, new: int) -> int:
        """Return the index behind the last unit of the chunk.

        Args:
            begin: Of the chunk.
            new: The index of its first unit that no chunk has yet.
        """
        limit = self._limit(begin, new)
        before = self._before(begin)
        most = bisect_right(self._sums, before + self._room) - 1
        if most >= limit:
            return limit
        best: tuple[Boundary, int] | None = None
        furthest: int | None = None
        for end in range(most, new, -1):
            boundary = self._units[end].boundary
            if boundary == Boundary.GLUED:
                continue
            part = (self._sums[end] - before) / self._room
            if part >= (_HEADING_PART if boundary >= Boundary.HEADING_6 else _PART):
                best = max(best or (boundary, end), (boundary, end))
            furthest = furthest or end
            if part < _HEADING_PART:
                break
        if best is not None:
            return best[1]
        # Headings that fill a chunk are cut where there is no more room.
        return furthest or max(most, new + 1)

    def _limit(self, begin: _Begin, new: int) -> int:
        """Return the index behind the last unit that the chunk may have, were there room."""
        first = self._units[new]
        place = first.scope.end
        if begin.unit.boundary < Boundary.HEADING_6 and begin.unit.begin > self._begins[0]:
            # It begins inside a section, which no other top-level section may follow.
            place = min(place, self._outline.next_top(first.begin))
        return max(bisect_left(self._begins, place), new + 1)

    def _next_begin(self, begin: _Begin, end: int) -> _Begin:
        """Return where the chunk behind ``end`` begins: there, or some way before."""
        cut = _Begin(end, self._units[end])
        if cut.unit.boundary >= Boundary.HEADING_2:
            return cut
        # There must be room for what is new.
        needed = end + 1
        while needed < len(self._units) and self._units[needed].boundary == Boundary.GLUED:
            needed += 1
        room = self._room - (self._sums[needed] - self._sums[end])
        wanted = min(self._overlap, room)
        most = min(self._overlap * _MOST_OVERLAP, room)
        if wanted <= 0:
            return cut
        best, best_tokens = cut, 0
        for index in range(end - 1, begin.index, -1):
            candidate = _Begin(index, self._units[index])
            tokens = self._sums[end] - self._before(candidate)
            if tokens > most:
                break
            boundary = candidate.unit.boundary
            if boundary not in (Boundary.CHARACTER, Boundary.WORD) and abs(tokens - wanted) <= abs(
                best_tokens - wanted
            ):
                best, best_tokens = candidate, tokens
            if boundary >= Boundary.HEADING_2:
                return best
        if best_tokens >= wanted * _LEAST_OVERLAP:
            return best
        return self._inside_sentence(begin, end, wanted, most) or best

    def _inside_sentence(
        self, begin: _Begin, end: int, wanted: float, most: float
    ) -> _Begin | None:
        """Return the place about ``wanted`` tokens before ``end``, behind a word."""
        # The unit that the place is in.
        index = bisect_right(self._sums, self._sums[end] - wanted) - 1
        unit = begin.unit if index <= begin.index else self._units[index]
        index = max(index, begin.index)
        tokens = wanted - (self._sums[end] - self._sums[index + 1])
        if unit.heading or not 0 < tokens < unit.tokens or unit.end - unit.begin < 2:
            return None
        rest = self._outline.tail(unit, tokens / unit.tokens)
        if rest is None:
            return None
        found = _Begin(index, rest)
        return found if self._sums[end] - self._before(found) <= most else None

    def _before(self, begin: _Begin) -> int:
        """Return the tokens of all that is before a chunk, gap included."""
        return self._sums[begin.index + 1] - begin.unit.tokens
