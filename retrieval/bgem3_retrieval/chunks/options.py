"""How large chunks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.errors import InvalidInputError

MIN_MAX_TOKENS: Final = 16


@dataclass(frozen=True)
class ChunkOptions:
    """How documents are cut.

    Attributes:
        max_tokens: The most that the model counts in a chunk, special tokens included; 16 to 8192.
        overlap_tokens: About how much of a chunk's end the next one begins with; 0 for nothing, and
            less than half of ``max_tokens``.
    """

    max_tokens: int = 512
    overlap_tokens: int = 64

    def __post_init__(self) -> None:
        if not MIN_MAX_TOKENS <= self.max_tokens <= MAX_POSITIONS_TOKENS:
            raise InvalidInputError(
                f"chunks have {MIN_MAX_TOKENS} to {MAX_POSITIONS_TOKENS} tokens at most, and not "
                f"{self.max_tokens}"
            )
        if not 0 <= self.overlap_tokens < self.max_tokens / 2:
            raise InvalidInputError(
                f"chunks of up to {self.max_tokens} tokens overlap by 0 tokens or more, and by "
                f"less than half of that, not by {self.overlap_tokens}"
            )
