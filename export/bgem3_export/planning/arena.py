"""ONNX Runtime's arena, simulated: how much memory a sequence of allocations really takes.

The arena ("best fit with coalescing", ``onnxruntime/core/framework/bfc_arena.cc``) asks the system
for regions and cuts them into chunks. What is freed becomes a hole that only something as small
fits into, and a chunk less than twice as large as asked for is handed out whole, so it takes more
than is alive at any moment; how much more depends on the sizes and their order. Nothing is fitted
here: the algorithm is repeated, and a test compares the regions with those of ONNX Runtime's log.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import Final, Literal

Extension = Literal["kNextPowerOfTwo", "kSameAsRequested"]

# Of OrtArenaCfg, the defaults of onnxruntime/core/framework/bfc_arena.h.
_SMALLEST_BYTES: Final = 256
_FIRST_REGION_BYTES: Final = 1 << 20
_REGION_AFTER_SHRINKING_BYTES: Final = 2 << 20
_MOST_WASTE_BYTES: Final = 128 << 20
_MOST_BINS: Final = 21


@dataclass(eq=False)
class Chunk:
    """A piece of a region; handed out, or free."""

    region: int
    begin: int
    size: int
    used: bool = False
    previous: Chunk | None = None
    next: Chunk | None = None


@dataclass
class _Region:
    size: int
    touched: int = 0


@dataclass
class Arena:
    """An arena as a run finds it: one small region, the others given back.

    Attributes:
        extension: ``arena_extend_strategy``.
        regions: Sizes of the regions that it asked for, in order.
    """

    extension: Extension
    _regions: list[_Region] = field(default_factory=list)
    _bins: list[list[tuple[int, int, int, Chunk]]] = field(
        default_factory=lambda: [[] for _ in range(_MOST_BINS)]
    )
    _growth: int = _REGION_AFTER_SHRINKING_BYTES

    def __post_init__(self) -> None:
        # Growing by powers of two, it never gives its first region back.
        if self.extension == "kNextPowerOfTwo":
            self._add_region(_FIRST_REGION_BYTES)

    @property
    def regions(self) -> list[int]:
        """Bytes of each region so far, in the order in which they were asked for."""
        return [region.size for region in self._regions]

    @property
    def reserved_bytes(self) -> int:
        """What it took from the system: what counts where memory is never lent unused, on a GPU."""
        return sum(region.size for region in self._regions)

    @property
    def touched_bytes(self) -> int:
        """What of it was written: what counts on a CPU, where pages are lent when they are used.

        A chunk is handed out from its beginning, so what is untouched is the end of a region.
        """
        return sum(region.touched for region in self._regions)

    def allocate(self, size_bytes: int) -> Chunk | None:
        """Hand out memory; None for nothing."""
        if size_bytes == 0:
            return None
        rounded = -(-size_bytes // _SMALLEST_BYTES) * _SMALLEST_BYTES
        chunk = self._take(rounded)
        if chunk is None:
            self._add_region(self._extension_bytes(rounded))
            chunk = self._take(rounded)
        assert chunk is not None
        region = self._regions[chunk.region]
        region.touched = max(region.touched, chunk.begin + size_bytes)
        return chunk

    def free(self, chunk: Chunk | None) -> None:
        """Take memory back."""
        if chunk is None:
            return
        chunk.used = False
        if chunk.next is not None and not chunk.next.used:
            self._remove(chunk.next)
            self._merge(chunk, chunk.next)
        if chunk.previous is not None and not chunk.previous.used:
            self._remove(chunk.previous)
            self._merge(chunk.previous, chunk)
            chunk = chunk.previous
        self._insert(chunk)

    def _extension_bytes(self, rounded: int) -> int:
        if self.extension == "kSameAsRequested":
            return rounded
        if rounded <= self._growth:
            extension = self._growth
            self._growth *= 2
            return extension
        while rounded > self._growth:
            self._growth *= 2
        return self._growth

    def _add_region(self, size: int) -> None:
        self._insert(Chunk(len(self._regions), 0, size))
        self._regions.append(_Region(size))

    def _take(self, rounded: int) -> Chunk | None:
        for number in range(_bin(rounded), _MOST_BINS):
            for entry in self._bins[number]:
                chunk = entry[-1]
                if chunk.size < rounded:
                    continue
                self._bins[number].remove(entry)
                if chunk.size >= 2 * rounded or chunk.size - rounded >= _MOST_WASTE_BYTES:
                    self._split(chunk, rounded)
                chunk.used = True
                return chunk
        return None

    def _split(self, chunk: Chunk, size: int) -> None:
        rest = Chunk(
            chunk.region, chunk.begin + size, chunk.size - size, previous=chunk, next=chunk.next
        )
        if chunk.next is not None:
            chunk.next.previous = rest
        chunk.next = rest
        chunk.size = size
        self._insert(rest)

    @staticmethod
    def _merge(first: Chunk, second: Chunk) -> None:
        first.size += second.size
        first.next = second.next
        if second.next is not None:
            second.next.previous = first

    def _insert(self, chunk: Chunk) -> None:
        # Within a bin by size, then by address; regions stand for addresses in order.
        insort(self._bins[_bin(chunk.size)], (chunk.size, chunk.region, chunk.begin, chunk))

    def _remove(self, chunk: Chunk) -> None:
        self._bins[_bin(chunk.size)].remove((chunk.size, chunk.region, chunk.begin, chunk))


def _bin(size: int) -> int:
    return min(_MOST_BINS - 1, (size // _SMALLEST_BYTES).bit_length() - 1)
