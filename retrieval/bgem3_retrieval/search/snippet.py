"""The part of a passage that shows best why it was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

from bgem3_retrieval.search.marks import Mark

_ELLIPSIS: Final = "…"
_SPACES: Final = re.compile(r"\s+")
# Where a cut looks natural: behind a sentence, or between words.
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s)|[。！？；\n]")
# How far in front of the first mark a sentence may begin, as a part of the width.
_LEAD: Final = 0.4


@dataclass(frozen=True)
class Snippet:
    """A passage on one line, or a part of it.

    Attributes:
        text: White space is single spaces; an ellipsis stands where something is left out.
        marks: (begin, end) of the matched words in ``text``.
    """

    text: str
    marks: tuple[tuple[int, int], ...]


def snippet(text: str, marks: Sequence[Mark], cells: int) -> Snippet:
    """Return the part of a passage where its matched words weigh most.

    Args:
        text: The passage.
        marks: Its matched words, in order.
        cells: How wide the part may be on a terminal, where a Chinese character takes two cells;
            a mark at its end may reach further.
    """
    begin, end = _window(text, marks, cells)
    return _on_one_line(text, marks, begin, end)


def whole(text: str, marks: Sequence[Mark]) -> Snippet:
    """Return a passage as it is, with its line breaks."""
    return Snippet(text, tuple((mark.begin, mark.end) for mark in marks))


def _window(text: str, marks: Sequence[Mark], cells: int) -> tuple[int, int]:
    """Return which characters are shown."""
    if cell_len(text) <= cells:
        return 0, len(text)
    begin = _natural_begin(text, _best_begin(text, marks, cells), cells)
    end = begin + _fitting(text[begin:], cells)
    if end < len(text):
        end = _word_end(text, begin, end)
    return begin, end


def _best_begin(text: str, marks: Sequence[Mark], cells: int) -> int:
    """Return where the mark begins from which the following weigh most within the width."""
    best, best_weight = 0, 0.0
    # What stands in front of the first mark takes a part of the width.
    room = int(cells * (1 - _LEAD))
    for number, first in enumerate(marks):
        end = first.begin + _fitting(text[first.begin :], room)
        inside = [mark for mark in marks[number:] if mark.end <= end]
        # A word that is there ten times is no better than all words once.
        by_word = {text[mark.begin : mark.end]: mark.weight for mark in inside or [first]}
        weight = sum(by_word.values())
        if weight > best_weight * (1 + 1e-9):
            best, best_weight = first.begin, weight
    return best


def _natural_begin(text: str, at: int, cells: int) -> int:
    """Return the begin of the sentence, or else of a word, some way in front of a place."""
    earliest = at - _fitting(text[:at][::-1], int(cells * _LEAD))
    if earliest == 0:
        return 0
    ends = [match.end() for match in _SENTENCE_END.finditer(text, earliest, at)]
    if ends:
        return ends[-1]
    space = _SPACES.search(text, earliest, at)
    return space.end() if space else earliest


def _word_end(text: str, begin: int, end: int) -> int:
    """Return the end of the last whole word, where one ends in the last part of the window."""
    if text[end].isspace():
        return end
    space = max(text.rfind(" ", begin, end), text.rfind("\n", begin, end))
    return space if space > end - (end - begin) // 5 else end


def _fitting(text: str, cells: int) -> int:
    """Return how many characters of a text, from its begin, take no more than so many cells."""
    # No character takes more than two cells.
    if cells >= 2 * len(text):
        return len(text)
    used = 0
    for number, character in enumerate(text):
        # White space becomes a space.
        used += 1 if character.isspace() else cell_len(character)
        if used > cells:
            return number
    return len(text)


def _on_one_line(text: str, marks: Sequence[Mark], begin: int, end: int) -> Snippet:
    """Return some characters with white space made single spaces, and the marks moved along."""
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    shown, places = [_ELLIPSIS] if text[:begin].strip() else [], {}
    length = len("".join(shown))
    for position in range(begin, end):
        places[position] = length
        character = text[position]
        if character.isspace():
            if position > begin and text[position - 1].isspace():
                continue
            character = " "
        shown.append(character)
        length += 1
    places[end] = length
    if text[end:].strip():
        shown.append(_ELLIPSIS)
    moved = [
        (places[max(mark.begin, begin)], places[min(mark.end, end)])
        for mark in marks
        if mark.begin < end and mark.end > begin
    ]
    return Snippet("".join(shown), tuple(moved))
