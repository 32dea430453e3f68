"""Real writing in twenty languages as work to measure, and long texts made from it.

``data/texts.jsonl`` has a text a line, ``{"language", "kind", "text"}``. The kinds are ``short`` (a
query), ``sentence`` and ``passage``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Final, Literal

Kind = Literal["short", "sentence", "passage"]

CHARACTERS_PER_TOKEN: Final = {
    "zh": 1.45,
    "zh-Hant": 1.45,
    "ja": 1.8,
    "ko": 2.1,
    "ar": 3.2,
    "he": 3.2,
    "bn": 3.4,
    "hi": 3.6,
    "fa": 3.6,
    "vi": 3.8,
    "th": 3.9,
    "sw": 3.9,
    "pt": 4.2,
    "tr": 4.2,
    "ru": 4.2,
    "fr": 4.3,
    "ta": 4.4,
    "de": 4.4,
    "es": 4.4,
    "en": 4.5,
}
"""Of XLM-RoBERTa's vocabulary on these very texts, rounded up: a long text is never too short."""


@dataclass(frozen=True)
class RealText:
    """One line of the file."""

    language: str
    kind: Kind
    text: str


@cache
def real_text_records() -> tuple[RealText, ...]:
    """Return every text with its language and kind, in the file's order."""
    content = (files("bgem3_bench") / "data" / "texts.jsonl").read_text(encoding="utf-8")
    # Not splitlines(), which cuts at more than line feeds.
    return tuple(RealText(**json.loads(line)) for line in content.strip().split("\n"))


def real_texts() -> list[str]:
    """Return short queries, sentences and passages, in the file's order."""
    return [record.text for record in real_text_records()]


def long_text(target_tokens: int, language: str = "zh", seed: int = 0) -> str:
    """Return a text of at least ``target_tokens`` tokens, and at most about 30% more.

    The texts of one language follow one another in shuffled order, shuffled anew for each round,
    and are cut where the length is reached. The same arguments give the same text.

    Args:
        target_tokens: Length wanted, special tokens not counted. Estimated from characters, which
            holds from a few hundred tokens on.
        language: One of ``CHARACTERS_PER_TOKEN``.
        seed: Another seed gives another order.

    Raises:
        KeyError: There are no texts in this language.
    """
    texts = [record.text for record in real_text_records() if record.language == language]
    length_characters = ceil(target_tokens * CHARACTERS_PER_TOKEN[language])
    return shuffled_text(texts, length_characters, random.Random(seed))


def shuffled_text(paragraphs: Sequence[str], length_characters: int, order: random.Random) -> str:
    """Return paragraphs in shuffled order, shuffled anew for each round, cut at a length."""
    parts: list[str] = []
    while sum(map(len, parts)) < length_characters:
        parts += order.sample(paragraphs, len(paragraphs))
    return "\n".join(parts)[:length_characters]
