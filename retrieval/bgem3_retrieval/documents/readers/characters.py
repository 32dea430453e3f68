"""Characters as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_LINE_ENDS: Final = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
# Control characters, soft hyphens, byte order marks, and what else is there and is not seen.
# Joiners are kept: emoji and several scripts need them.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff\ufff9-\ufffc\ufffe\uffff]"
)
_SPACES: Final = re.compile(r"[ \t\n]+")

# Scripts written without spaces between words. Hangul is not one of them.
_UNSPACED: Final = re.compile(
    "[\u2e80-\u30ff\u3100-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff01-\uff9f\uffe0-\uffe6\U00016fe0-\U00016fff\U0001b000-\U0001b2ff\U00020000-\U0003ffff]"
)
# They carry their own space, whatever stands on the other side.
_WIDE_PUNCTUATION: Final = re.compile(
    "[\u3000-\u3004\u3008-\u3020\u3030\ufe30-\ufe4f"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]"
)
# Used with both kinds of script.
_SHARED_PUNCTUATION: Final = re.compile("[\u2014\u2018\u2019\u201c\u201d\u2026\u00b7]")


def clean(text: str) -> str:
    """Return the text with LF as its only line end, and without what cannot be seen.

    A lone surrogate, which is no character, becomes U+FFFD.
    """
    text = _LINE_ENDS.sub("\n", text)
    return _INVISIBLE.sub("", _SURROGATES.sub("\ufffd", text))


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script without spaces between words, as Chinese is."""
    return bool(_UNSPACED.match(character))


def space_between(left: str, right: str) -> str:
    """Return what a line end between two characters stands for: a space, or nothing in Chinese.

    Args:
        left: The character before it; may be empty.
        right: The character after it; may be empty.
    """
    if _WIDE_PUNCTUATION.match(left) or _WIDE_PUNCTUATION.match(right):
        return ""
    unspaced = is_unspaced(left), is_unspaced(right)
    shared = bool(_SHARED_PUNCTUATION.match(left)), bool(_SHARED_PUNCTUATION.match(right))
    if all(either for either in map(any, zip(unspaced, shared, strict=True))) and any(unspaced):
        return ""
    return " "


def one_line(text: str) -> str:
    """Return the text with each run of spaces and line ends as it reads on one line."""

    def space(run: re.Match[str]) -> str:
        if "\n" not in run[0]:
            return " "
        return space_between(text[run.start() - 1 : run.start()], text[run.end() : run.end() + 1])

    return _SPACES.sub(space, text.strip(" \t\n")) if text else text


def joined(lines: Iterable[str]) -> str:
    """Return lines of one paragraph as one line."""
    return one_line("\n".join(lines))
