"""Documents and counters of tokens for the tests of the splitter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import regex
from numpy.typing import NDArray

from bgem3_retrieval.documents.document import Block, BlockKind, Document

# A word, or a character of a script without spaces.
_TOKEN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[^\W\p{Han}\p{Thai}]+|[^\w\s#]")
SPECIAL = 2

CountTokens = Callable[[Sequence[str]], NDArray[np.int32]]


def counter(count: Callable[[str], int]) -> CountTokens:
    """A counter as the client's: special tokens included; an empty call is an error."""

    def count_tokens(texts: Sequence[str]) -> NDArray[np.int32]:
        assert texts
        return np.array([count(text) + SPECIAL for text in texts], np.int32)

    return count_tokens


def words(text: str) -> int:
    """Words, characters of Chinese, Japanese and Thai, and punctuation marks."""
    return len(_TOKEN.findall(text))


def unruly(text: str) -> int:
    """More than its parts count, or less, as it happens; up to six for a single character."""
    return min(crc32(text.encode()) % 6 + int(len(text) ** 1.2 / 2), 6 * len(text))


def document(*parts: str | tuple[str, str | int], gap: str = "\n\n", source: str = "a") -> Document:
    """A document of paragraphs; ``(level, text)`` is a heading, ``(kind, text)`` another block."""
    text = ""
    blocks = []
    for part in parts:
        kind: BlockKind = "paragraph"
        level = 0
        content = part
        if isinstance(part, tuple):
            what, content = part
            if isinstance(what, int):
                kind, level = "heading", what
                text += "#" * level + " "
            else:
                kind = what
        blocks.append(Block(kind, len(text), len(text) + len(content), level, page=len(blocks) + 1))
        text += content + gap
    return Document(source, text, tuple(blocks), "Title", {})


def sentence(number: int, length: int = 10) -> str:
    """A sentence of so many tokens, unlike the others."""
    return " ".join(["Word"] + [f"w{number}x{place}" for place in range(length - 2)]) + "."


def paragraph(sentences: int, first: int = 0, length: int = 10) -> str:
    """Sentences of so many tokens each."""
    return " ".join(sentence(first + number, length) for number in range(sentences))
