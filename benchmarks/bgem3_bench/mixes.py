"""The work: named mixes of texts as real users have them, and texts of one's own.

Every mix is real writing in the lengths that its name stands for, and the same at every run.
Lengths follow the quantiles of their distribution, so that a small mix has the same shape as a
large one.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_bench.errors import WorkError
from bgem3_bench.model_shape import TrunkShape
from bgem3_bench.real_texts import CHARACTERS_PER_TOKEN, real_text_records, shuffled_text

PASSAGE_TOKENS: Final = (50, 300)
DOCUMENT_CHARACTERS: Final = 5_000
HEAVY_TAIL_MEDIAN_TOKENS: Final = 48
HEAVY_TAIL_DEVIATION: Final = 1.2
HEAVY_TAIL_SHORTEST_TOKENS: Final = 5

# One pass over a mix is some two seconds of a processor at 1 TFLOP/s.
_PASS_FLOP: Final = 2.4e12
_BUDGET_TOKENS: Final = (1_000, 16_000)
_DOCUMENT_TOKENS: Final = 6_000
_QUICK_SHARE: Final = 4
# A text that is to be cut has more than it needs, also where its words are long.
_SPARE_TOKENS: Final = 30


@dataclass(frozen=True)
class Mix:
    """Texts to encode, with their lengths.

    Attributes:
        lengths: Tokens of each text, special tokens included, cut to what the model takes.
    """

    name: str
    description: str
    texts: tuple[str, ...]
    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """All tokens, none of them padding."""
        return sum(self.lengths)


def token_budget(shape: TrunkShape, *, quick: bool = False) -> int:
    """Return how many tokens one pass over a mix may have: fewer for a larger trunk."""
    lowest, highest = _BUDGET_TOKENS
    budget = min(int(_PASS_FLOP / shape.linear_flop_per_token), highest)
    return max(budget // _QUICK_SHARE if quick else budget, lowest)


def mix_description(name: str) -> str:
    """Return what one of :data:`MIXES` is."""
    return _MIXES[name][0]


def build_mix(name: str, tokenizer: TextTokenizer, budget_tokens: int) -> Mix:
    """Make one of :data:`MIXES`.

    Args:
        name: One of them.
        tokenizer: The model's, which decides what a token is.
        budget_tokens: About how many tokens the mix is to have. Documents are two at least where
            it is 2,000 or more, however long they are; there are no more queries than real ones.
    """
    description, make = _MIXES[name]
    return _mix(name, description, tuple(make(tokenizer, budget_tokens)), tokenizer)


def mix_from_file(path: Path, tokenizer: TextTokenizer, budget_tokens: int) -> Mix:
    """Make a mix of a user's own texts: evenly spaced ones where the budget does not hold all.

    Args:
        path: A text a line; with the suffix ``.jsonl`` a JSON string or an object with ``text``.
        tokenizer: The model's.
        budget_tokens: About how many tokens the mix is to have.

    Raises:
        WorkError: The file cannot be read, holds no text, or a line is not as described.
    """
    texts = _read_texts(path)
    mean_tokens = sum(_lengths(texts, tokenizer)) / len(texts)
    count = min(len(texts), max(1, int(budget_tokens / mean_tokens)))
    chosen = tuple(texts[number * len(texts) // count] for number in range(count))
    description = f"{count:,} of the {len(texts):,} texts of {path.name}"
    return _mix(path.stem, description, chosen, tokenizer)


def _queries(tokenizer: TextTokenizer, budget_tokens: int) -> Iterator[str]:
    texts = [record.text for record in real_text_records() if record.kind == "short"]
    random.Random(1).shuffle(texts)
    lengths = _lengths(texts, tokenizer)
    for number, text in enumerate(texts):
        if sum(lengths[: number + 1]) > budget_tokens:
            return
        yield text


def _passages(tokenizer: TextTokenizer, budget_tokens: int) -> Iterator[str]:
    shortest, longest = PASSAGE_TOKENS
    count = max(4, budget_tokens * 2 // (shortest + longest))
    # From the middles of equal parts of the range.
    lengths = [round(shortest + (longest - shortest) * (n + 0.5) / count) for n in range(count)]
    return _texts_of(lengths, tokenizer, seed=2)


def _heavy_tail(tokenizer: TextTokenizer, budget_tokens: int) -> Iterator[str]:
    mean_tokens = HEAVY_TAIL_MEDIAN_TOKENS * math.exp(HEAVY_TAIL_DEVIATION**2 / 2)
    count = max(8, int(budget_tokens / mean_tokens))
    normal = NormalDist()
    lengths = [
        round(
            HEAVY_TAIL_MEDIAN_TOKENS
            * math.exp(HEAVY_TAIL_DEVIATION * normal.inv_cdf((n + 0.5) / count))
        )
        for n in range(count)
    ]
    return _texts_of([max(n, HEAVY_TAIL_SHORTEST_TOKENS) for n in lengths], tokenizer, seed=3)


def _documents(tokenizer: TextTokenizer, budget_tokens: int) -> Iterator[str]:
    count = 1 if budget_tokens < 2_000 else max(2, budget_tokens // _DOCUMENT_TOKENS)
    source = (files("bgem3_bench") / "data" / "documents_zh.txt").read_text(encoding="utf-8")
    paragraphs = source.strip().split("\n\n")
    paragraphs += [
        record.text
        for record in real_text_records()
        if record.language.startswith("zh") and record.kind != "short"
    ]
    first = shuffled_text(paragraphs, DOCUMENT_CHARACTERS, random.Random(0))
    yield first
    (shortest,) = _lengths([first], tokenizer)
    longest_characters = MAX_POSITIONS_TOKENS * 2
    for number in range(1, count):
        text = shuffled_text(paragraphs, longest_characters, random.Random(number))
        tokens = shortest + (MAX_POSITIONS_TOKENS - shortest) * number / (count - 1)
        yield _cut(text, round(tokens), tokenizer)


_MIXES: Final[dict[str, tuple[str, Callable[[TextTokenizer, int], Iterator[str]]]]] = {
    "queries": ("search queries in twenty languages", _queries),
    "passages": ("passages of 50 to 300 tokens in twenty languages", _passages),
    "heavy_tail": ("many short texts, some long ones: lengths are log-normal", _heavy_tail),
    "documents": ("Chinese documents, from 5,000 characters to 8,192 tokens", _documents),
}
MIXES: Final = tuple(_MIXES)
"""The names that :func:`build_mix` takes."""


def _texts_of(lengths: list[int], tokenizer: TextTokenizer, seed: int) -> Iterator[str]:
    """Yield a text of each length, in shuffled order, in one language after the other."""
    order = random.Random(seed)
    order.shuffle(lengths)
    for length, language in zip(lengths, cycle(CHARACTERS_PER_TOKEN)):
        records = [record.text for record in real_text_records() if record.language == language]
        characters = math.ceil((length + _SPARE_TOKENS) * CHARACTERS_PER_TOKEN[language] * 1.2)
        yield _cut(shuffled_text(records, characters, order), length, tokenizer)


def _cut(text: str, tokens: int, tokenizer: TextTokenizer) -> str:
    """Return the beginning of ``text`` that has so many tokens, or up to two fewer."""
    (encoding,) = tokenizer.encode_with_offsets([text], add_special_tokens=False)
    kept = tokens - 2  # <s> and </s>
    # Cut elsewhere, the last word may fall into other tokens.
    while True:
        beginning = text[: encoding.offsets[kept - 1][1]]
        if _lengths([beginning], tokenizer)[0] <= tokens:
            return beginning
        kept -= 1


def _lengths(texts: list[str] | tuple[str, ...], tokenizer: TextTokenizer) -> list[int]:
    return [min(len(encoding), MAX_POSITIONS_TOKENS) for encoding in tokenizer.encode(texts)]


def _mix(name: str, description: str, texts: tuple[str, ...], tokenizer: TextTokenizer) -> Mix:
    return Mix(name, description, texts, tuple(_lengths(texts, tokenizer)))


def _read_texts(path: Path) -> list[str]:
    try:
        # Not splitlines(), which cuts at more than line feeds.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkError(f"{path} cannot be read: {error}") from error
    parse = _json_text if path.suffix == ".jsonl" else _plain_text
    texts = [parse(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not texts:
        raise WorkError(f"{path} holds no text: write one a line")
    return texts


def _plain_text(line: str, place: str) -> str:
    return line.removesuffix("\r")


def _json_text(line: str, place: str) -> str:
    try:
        content: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise WorkError(f"{place} is not JSON: {error}") from error
    text = content.get("text") if isinstance(content, dict) else content
    if not isinstance(text, str):
        raise WorkError(f'{place}: write a JSON string, or an object like {{"text": "..."}}')
    return text
