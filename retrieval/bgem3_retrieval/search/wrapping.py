"""Lines of a passage for a terminal, where Chinese breaks between any two characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

from rich.cells import cell_len

_OPENING: Final = frozenset({"Ps", "Pi"})
_CLOSING: Final = frozenset({"Pe", "Pf", "Po"})


def wrapped(text: str, cells: int) -> Iterator[tuple[int, int]]:
    """Yield where each line begins and ends, without the white space at its end.

    Lines end behind spaces and beside wide characters, but not in front of closing punctuation or
    behind opening brackets; what fits on no line is cut.

    Args:
        text: With its own line breaks, which are kept.
        cells: The width of a line.
    """
    begin = 0
    for line in text.split("\n"):
        yield from _lines(text, begin, begin + len(line), cells)
        begin += len(line) + 1


def _lines(text: str, begin: int, end: int, cells: int) -> Iterator[tuple[int, int]]:
    used, last_break = 0, begin
    for position in range(begin, end):
        if position > begin and _may_break(text[position - 1], text[position]):
            last_break = position
        used += cell_len(text[position])
        # Spaces hang over the end.
        if used > cells and not text[position].isspace() and position > begin:
            cut = last_break if last_break > begin else position
            yield begin, _without_spaces(text, begin, cut)
            begin = last_break = cut
            used = cell_len(text[begin : position + 1])
    yield begin, _without_spaces(text, begin, end)


def _may_break(left: str, right: str) -> bool:
    if right.isspace():
        return False
    if left.isspace():
        return True
    return (
        (_is_wide(left) or _is_wide(right))
        and unicodedata.category(right) not in _CLOSING
        and unicodedata.category(left) not in _OPENING
    )


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _without_spaces(text: str, begin: int, end: int) -> int:
    while end > begin and text[end - 1].isspace():
        end -= 1
    return end
