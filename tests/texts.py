"""The texts that tests send through the models: real writing, and what breaks things.

The kind ``edge`` (language ``und``), of ``data/edge_texts.jsonl``, holds what breaks tokenizers and
transports: nothing at all, control and private-use characters, bidirectional marks, code, literal
special tokens, endless words. Two of them repeat another text on purpose: equal texts must get
equal answers.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bgem3_bench.real_texts import CHARACTERS_PER_TOKEN, long_text, real_text_records

__all__ = ["CHARACTERS_PER_TOKEN", "load_records", "load_texts", "long_text"]

_EDGE_TEXTS_FILE = Path(__file__).parent / "data" / "edge_texts.jsonl"


class Text(NamedTuple):
    """A text, its language and its kind."""

    language: str
    kind: str
    text: str


@cache
def load_records() -> tuple[Text, ...]:
    """Return every text with its language and kind: the real ones first."""
    real = [Text(record.language, record.kind, record.text) for record in real_text_records()]
    with _EDGE_TEXTS_FILE.open(encoding="utf-8") as lines:
        return (*real, *(Text(**json.loads(line)) for line in lines))


def load_texts() -> list[str]:
    """Return every text, in the same order."""
    return [record.text for record in load_records()]
