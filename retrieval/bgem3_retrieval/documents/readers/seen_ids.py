"""The ids of the rows of a table so far, in eight bytes each."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

_RECENT: Final = 1 << 16


class SeenIds:
    """A set of strings that keeps 64 bits of each one's hash.

    Among ten million different strings, the chance that any two are taken for the same is one in
    300,000.
    """

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._recent: set[int] = set()

    def add(self, text: str) -> bool:
        """Add a string; return whether it was not there."""
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "little")
        place = int(np.searchsorted(self._sorted, np.uint64(key)))
        if key in self._recent or (place < len(self._sorted) and int(self._sorted[place]) == key):
            return False
        self._recent.add(key)
        if len(self._recent) == _RECENT:
            recent = np.fromiter(self._recent, np.uint64, _RECENT)
            self._sorted = np.sort(np.concatenate([self._sorted, recent]), kind="stable")
            self._recent.clear()
        return True
