"""Which batches an engine is planned for.

TensorRT reserves memory for the largest shapes of an engine and picks its kernels for the usual
ones, so both have to be said before it is built. Its attention is padded to the longest text, so
what costs memory are texts times the longest of them: all mixes allow the same number of such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bgem3_backend.contract import COLUMNS, INPUT_IDS, LENGTHS, LONGEST

LengthMix = Literal["queries", "passages", "documents"]

BATCH_REQUESTS: Final = 4
"""Requests that Triton computes together."""

# 32,768 rows of BGE-M3's queries, keys, values and contexts take 268 MB in FP16.
_ROWS: Final = 32_768

# (usual, largest) tokens of the longest text in a batch, and usual texts in it.
_MIXES: Final[dict[LengthMix, tuple[int, int, int]]] = {
    "queries": (16, 256, 32),
    "passages": (256, 1024, 16),
    "documents": (2048, 8192, 2),
}


@dataclass(frozen=True)
class Range:
    """What a size may be, and what it usually is."""

    minimum: int
    usual: int
    maximum: int


@dataclass(frozen=True)
class BatchShapes:
    """The sizes of the batches that an engine takes.

    Attributes:
        texts: In all requests of a batch together.
        tokens: Of all texts together.
        longest: Tokens of the longest text.
    """

    texts: Range
    tokens: Range
    longest: Range

    @property
    def request_texts(self) -> int:
        """Most texts in one request, so that every batch fits."""
        return self.texts.maximum // BATCH_REQUESTS

    @property
    def request_tokens(self) -> int:
        """Most tokens in one request, so that every batch fits."""
        return self.tokens.maximum // BATCH_REQUESTS

    @property
    def inputs(self) -> dict[str, Range]:
        """The range of each input of the graph; each has one dimension."""
        columns = Range(
            1,
            self.longest.usual * BATCH_REQUESTS,
            self.longest.maximum * BATCH_REQUESTS,
        )
        return {
            INPUT_IDS.name: self.tokens,
            LENGTHS.name: self.texts,
            COLUMNS.name: columns,
            LONGEST.name: self.longest,
        }


def batch_shapes(mix: LengthMix, max_length_tokens: int) -> BatchShapes:
    """Return the sizes for a mix of lengths.

    Worked example: ``passages`` takes 32,768 / 1,024 = 32 texts of up to 1,024 tokens at once, so
    8 texts and 8,192 tokens from each of four requests.

    Args:
        mix: What the texts are.
        max_length_tokens: The longest text that the model takes.
    """
    usual, largest, texts = _MIXES[mix]
    largest = min(largest, max_length_tokens)
    usual = min(usual, largest)
    return BatchShapes(
        texts=Range(1, texts, _ROWS // (largest * BATCH_REQUESTS) * BATCH_REQUESTS),
        # Texts are shorter than the longest: by a quarter, say.
        tokens=Range(1, texts * usual * 3 // 4, _ROWS),
        longest=Range(1, usual, largest),
    )
