"""The texts that tests send through the models: ``data/texts.jsonl`` and long ones made from it.

Each line of the file is ``{"language", "kind", "text"}``. The kinds ``short`` (a query),
``sentence`` and ``passage`` are ordinary writing in twenty languages; ``edge`` (language ``und``)
holds what breaks tokenizers and transports: nothing at all, control and private-use characters,
bidirectional marks, code, literal special tokens, endless words. Two of them repeat another text
on purpose: equal texts must get equal answers.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from bgem3_bench.real_texts import CHARACTERS_PER_TOKEN

TEXTS_FILE = Path(__file__).parent / "data" / "texts.jsonl"


@dataclass(frozen=True)
class Text:
    """One line of the file."""

    language: str
    kind: str
    text: str


@cache
def load_records() -> tuple[Text, ...]:
    """Return every text with its language and kind, in the file's order."""
    with TEXTS_FILE.open(encoding="utf-8") as lines:
        return tuple(Text(**json.loads(line)) for line in lines)


def load_texts() -> list[str]:
    """Return every text, in the file's order."""
    return [record.text for record in load_records()]


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
        KeyError: The file has no texts in this language.
    """
    length_characters = ceil(target_tokens * CHARACTERS_PER_TOKEN[language])
    texts = [record.text for record in load_records() if record.language == language]
    order = random.Random(seed)
    parts: list[str] = []
    while sum(map(len, parts)) < length_characters:
        parts += order.sample(texts, len(texts))
    return "\n".join(parts)[:length_characters]
