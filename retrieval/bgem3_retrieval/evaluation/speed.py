"""How fast documents are encoded, by what is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bgem3_client.encode_request import Output
from bgem3_retrieval.evaluation.dataset import LONG_CHARACTERS, Corpus
from bgem3_retrieval.evaluation.encoder import Encoder

_ROUNDS: Final = 3
_BUDGET_SECONDS: Final = 20.0
_LONG_DOCUMENTS: Final = 4


@dataclass(frozen=True)
class Speed:
    """The speed of some outputs.

    Attributes:
        outputs: What was asked for.
        documents_per_second: The median of the rounds.
        tokens_per_second: The same; None where tokens cannot be seen.
        documents: How many were encoded in a round.
    """

    outputs: frozenset[Output]
    documents_per_second: float
    tokens_per_second: float | None
    documents: int


def sample(corpus: Corpus, count: int) -> list[str]:
    """Return so many documents, evenly spaced, or all of them."""
    total = len(corpus.ids)
    count = min(count, total)
    return corpus.texts([place * total // count for place in range(count)])


def long_texts_of(corpus: Corpus) -> tuple[list[str], str]:
    """Return texts of more than :data:`LONG_CHARACTERS`, and what they are.

    Where no document is so long, they are made by joining documents, evenly spaced ones, so that
    they are in the collection's own languages.
    """
    long = [row for row, length in enumerate(corpus.characters) if length > LONG_CHARACTERS]
    if long:
        count = min(_LONG_DOCUMENTS, len(long))
        chosen = [long[place * len(long) // count] for place in range(count)]
        plural = "s" if count > 1 else ""
        return corpus.texts(chosen), f"{count} of the {len(long):,} long document{plural}"
    texts = []
    for place in range(_LONG_DOCUMENTS):
        parts: list[str] = []
        row = place * len(corpus.ids) // _LONG_DOCUMENTS
        while sum(map(len, parts)) + len(parts) <= LONG_CHARACTERS:
            parts += corpus.texts([row % len(corpus.ids)])
            row += 1
        texts.append("\n".join(parts))
    return texts, f"{_LONG_DOCUMENTS} texts, made by joining documents of the collection"


def measure_speed(
    encoder: Encoder, texts: list[str], asked: Sequence[frozenset[Output]]
) -> list[Speed]:
    """Encode the same texts for each of several sets of outputs, in turns.

    Args:
        encoder: What is measured.
        texts: One at least.
        asked: The sets. Each has three turns, or fewer where the next would begin after 20
            seconds. The encoder has been at work before.
    """
    seconds: dict[frozenset[Output], list[float]] = {outputs: [] for outputs in asked}
    tokens: dict[frozenset[Output], int | None] = {}
    begin = time.perf_counter()
    for number in range(_ROUNDS):
        if number and time.perf_counter() - begin > _BUDGET_SECONDS:
            break
        for outputs, taken in seconds.items():
            encoded = encoder.encode(texts, outputs)
            taken.append(encoded.seconds)
            tokens[outputs] = encoded.tokens
    speeds = []
    for outputs, taken in seconds.items():
        typical = median(taken)
        counted = tokens[outputs]
        speeds.append(
            Speed(
                outputs,
                len(texts) / typical,
                None if counted is None else counted / typical,
                len(texts),
            )
        )
    return speeds
