"""Which texts of many pairs are encoded when, and how long each is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_backend.packed_texts import Int32Array

BLOCK_BYTES: Final = 64 * 1024 * 1024
"""About how much the representations take that are asked for at once."""

Pair: TypeAlias = tuple[str, str]
"""A query and a passage."""


class Cut(NamedTuple):
    """A text, and the length it is cut to; the model's own limit for a text that is not cut."""

    text: str
    max_length: int


@dataclass(frozen=True)
class Block:
    """Pairs that are scored together.

    Attributes:
        pairs: Their numbers among the distinct pairs.
        first: The texts that no earlier block needed.
        last: The texts that no later block needs.
    """

    pairs: range
    first: Sequence[int]
    last: frozenset[int]


@dataclass(frozen=True, eq=False)
class PairPlan:
    """How P pairs are scored, each distinct text encoded once and each distinct pair scored once.

    Attributes:
        texts: The K distinct texts; what follows has their numbers.
        tokens: int32 [K], their lengths.
        pairs: The distinct pairs.
        rows: For each of the P pairs its number among the distinct ones.
        blocks: The distinct pairs, in order.
        peak_bytes: The most that is held at once, when a block is scored while the next one is
            encoded.
    """

    texts: Sequence[Cut]
    tokens: Int32Array
    pairs: Sequence[tuple[int, int]]
    rows: Sequence[int]
    blocks: Sequence[Block]
    peak_bytes: int


def plan_pairs(
    pairs: Sequence[Pair],
    lengths: Mapping[str, int],
    limits: tuple[int, int],
    size_bytes: Callable[[int], int],
) -> PairPlan:
    """Return what to encode and score, block by block.

    Args:
        pairs: One at least.
        lengths: Tokens of each text that is in them.
        limits: Tokens that queries and passages are cut to.
        size_bytes: What the representations of a text of so many tokens take.
    """
    numbers: dict[Cut, int] = {}
    distinct: dict[tuple[int, int], int] = {}
    rows = []
    for pair in pairs:
        query, passage = (
            numbers.setdefault(_cut(text, lengths[text], limit), len(numbers))
            for text, limit in zip(pair, limits, strict=True)
        )
        rows.append(distinct.setdefault((query, passage), len(distinct)))
    texts = list(numbers)
    tokens = [min(lengths[text], max_length) for text, max_length in texts]
    sizes = [size_bytes(length) for length in tokens]
    blocks = _blocks(list(distinct), sizes)
    return PairPlan(
        texts, np.array(tokens, np.int32), list(distinct), rows, blocks, _peak_bytes(blocks, sizes)
    )


def _cut(text: str, length: int, limit: int) -> Cut:
    # A text that is not cut is the same as a query and as a passage.
    return Cut(text, limit if length > limit else MAX_POSITIONS_TOKENS)


def _blocks(pairs: Sequence[tuple[int, int]], sizes: Sequence[int]) -> list[Block]:
    last_pair = {text: number for number, pair in enumerate(pairs) for text in pair}
    blocks: list[Block] = []
    known: set[int] = set()
    first: list[int] = []
    begin = size = 0

    def close(end: int) -> None:
        last = frozenset(text for text in known if last_pair[text] < end)
        blocks.append(Block(range(begin, end), tuple(first), last))
        known.difference_update(last)

    for number, pair in enumerate(pairs):
        new = [text for text in dict.fromkeys(pair) if text not in known]
        new_size = sum(sizes[text] for text in new)
        if first and size + new_size > BLOCK_BYTES:
            close(number)
            begin, size, first = number, 0, []
        known.update(new)
        first += new
        size += new_size
    close(len(pairs))
    return blocks


def _peak_bytes(blocks: Sequence[Block], sizes: Sequence[int]) -> int:
    held = peak = sum(sizes[text] for text in blocks[0].first)
    for block, following in pairwise(blocks):
        held += sum(sizes[text] for text in following.first)
        peak = max(peak, held)
        held -= sum(sizes[text] for text in block.last)
    return peak
