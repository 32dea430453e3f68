"""What is fuzzed: something that reads bytes, and what it may say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A reader, held to what it promises.

    Attributes:
        name: Of the target, and of the folder in ``corpus/`` with what it has found.
        run: Reads bytes. It returns where they are read as they should be, or refused by an error
            of the type that is promised; whatever it raises is a finding.
        seeds: Bytes to begin from.
        words: What the reader looks out for.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes] = ()
    words: Sequence[bytes] = ()
