"""Bytes like others, and not quite: the short search of the tests, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_MOST_BYTES = 65_536


def mutations(
    seeds: Sequence[bytes], words: Sequence[bytes], count: int, seed: int = 0
) -> Iterator[bytes]:
    """Yield the seeds, and then so many that were changed in a few places each."""
    source = random.Random(seed)
    yield from seeds
    for _ in range(count):
        content = bytearray(source.choice(seeds) if seeds else b"")
        for _ in range(source.choice((1, 1, 2, 4, 8))):
            _change(content, seeds, words, source)
        yield bytes(content[:_MOST_BYTES])


def _change(
    content: bytearray, seeds: Sequence[bytes], words: Sequence[bytes], source: random.Random
) -> None:
    begin = source.randint(0, len(content))
    end = min(len(content), begin + source.choice((0, 1, 1, 2, 4, 8, 64)))
    match source.randrange(7):
        case 0:
            content[begin:end] = source.randbytes(source.randint(0, 8))
        case 1 if begin < len(content):
            content[begin] ^= 1 << source.randrange(8)
        case 2 if words:
            content[begin:end] = source.choice(words)
        case 3:
            content[begin:begin] = content[begin:end] * source.choice((2, 16, 256))
        case 4 if seeds:
            other = source.choice(seeds)
            place = source.randint(0, len(other))
            content[begin:end] = other[place : place + source.randint(1, 64)]
        case 5:
            del content[begin:]
        case _:
            del content[begin:end]
