"""Where a text can be cut, and how well."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import regex


class Boundary(IntEnum):
    """What ends at a place in a text; a cut is better the larger it is.

    ``GLUED`` is between a heading and what follows it.
    """

    GLUED = 0
    CHARACTER = 1
    WORD = 2
    SENTENCE = 3
    PARAGRAPH = 4
    HEADING_6 = 5
    HEADING_5 = 6
    HEADING_4 = 7
    HEADING_3 = 8
    HEADING_2 = 9
    HEADING_1 = 10

    @classmethod
    def before_heading(cls, level: int) -> Boundary:
        """Return what ends before a heading of a level from 1 to 6."""
        return cls(cls.HEADING_1 + 1 - min(max(level, 1), 6))


# Unicode's rules for sentences (UAX #29, SB5 to SB11), but for three things: a line's end is a
# space, since lines are wrapped, unless an empty line follows; a full-width semicolon ends a
# sentence, as it ends a clause that could stand alone; and an opening bracket or quotation mark
# behind a full stop belongs to what follows it, since Chinese has no space between.
_IGNORED = r"[\p{SB=Extend}\p{SB=Format}]*+"
_TERMINATORS = r"\p{SB=STerm}\p{SB=ATerm}；"
_CLOSE = rf"(?:[\p{{SB=Close}}--\p{{Ps}}--\p{{Pi}}]{_IGNORED})*+"
_LETTERS = r"\p{SB=OLetter}\p{SB=Upper}\p{SB=Lower}"
_SENTENCE_END = regex.compile(
    rf"""
    (?: [\p{{SB=STerm}}；]{_IGNORED}
      | (?: (?<![\p{{SB=Upper}}\p{{SB=Lower}}]) \p{{SB=ATerm}}{_IGNORED}
          | \p{{SB=ATerm}}{_IGNORED} (?!\p{{SB=Upper}})                            # SB7: U.S.
        )
        (?!\p{{SB=Numeric}})                                                      # SB6: 3.5
        (?! {_CLOSE} \s*+                                    # SB8: e.g. this
            [^{_LETTERS}{_TERMINATORS}\n]*+ \p{{SB=Lower}} )
    )
    {_CLOSE} (?:\s{_IGNORED})*+                              # SB9, SB10
    (?![[\p{{SB=SContinue}}--；]{_TERMINATORS}])                                   # SB8a: ?!
    | \n[^\S\n]*+\n\s*+
    """,
    regex.VERBOSE | regex.V1,
)
_LINE_END = regex.compile(r"\n\s*+")
# Flags are taken by pairs here: \X looks back over all of a row of them, for each.
_CLUSTER = regex.compile(
    r"\p{GCB=Regional_Indicator}{2}[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}]*+|\X"
)
# Between words, and behind what divides clauses where there are no spaces.
_WORD_END = regex.compile(
    r"(?:\s++|[，、：；。！？．｡､…）】」』”’]++\s*+)"
    r"(?![\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}])"
)


def sentence_ends(text: str, begin: int, end: int) -> Iterator[int]:
    """Yield where the sentences of ``text[begin:end]`` end, white space behind them included.

    The last one's end, which is ``end``, is left out.
    """
    return _ends(_SENTENCE_END, text, begin, end)


def line_ends(text: str, begin: int, end: int) -> Iterator[int]:
    """Yield where the lines of ``text[begin:end]`` end; otherwise as :func:`sentence_ends`."""
    return _ends(_LINE_END, text, begin, end)


def cut_at_or_before(text: str, begin: int, target: int, end: int) -> tuple[int, Boundary]:
    """Return the best place to cut ``text[begin:end]`` in two, and what ends there.

    Args:
        text: The whole text.
        begin: Where the first part begins: between grapheme clusters, and not with white space.
        target: The latest place, unless the first grapheme cluster goes on behind it.
        end: Where the second part ends.

    Returns:
        A place behind ``begin``: behind a word where there is one, otherwise behind a grapheme
        cluster. That is ``end`` where all of the text is one cluster.
    """
    place = begin
    # The character behind the target says whether a word ends there.
    for match in _WORD_END.finditer(text, begin, min(target + 1, end)):
        if match.start() < target or text[target].isspace():
            place = min(match.end(), target)
    if place > begin:
        return place, Boundary.WORD
    for match in _CLUSTER.finditer(text, begin, end):
        if match.end() > target:
            return (place if place > begin else match.end()), Boundary.CHARACTER
        place = match.end()
    return place, Boundary.CHARACTER


def _ends(pattern: regex.Pattern[str], text: str, begin: int, end: int) -> Iterator[int]:
    for match in pattern.finditer(text, begin, end):
        if match.end() < end:
            yield match.end()
