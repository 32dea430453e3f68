"""How a call is cut into requests, and how many of them run at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bgem3_client.errors import InvalidInputError


@dataclass(frozen=True)
class Limits:
    """What one client sends at once; part of the client, shared by all its calls.

    Token counts are estimated before a request is sent, from above: a text counts for its UTF-8
    bytes plus 2, and for ``max_length`` at most. English and Chinese text has about 4 bytes a
    token, so the default of 16,384 is some 4,000 real tokens. A ColBERT answer is 4 KB a token in
    FP32 (BGE-M3's 1,024 dimensions): 64 MB a request at worst.

    Attributes:
        max_in_flight: Requests on their way at the same time.
        max_texts_per_request: Texts in one request.
        max_tokens_per_request: Estimated tokens in one request; a longer text travels alone.
    """

    max_in_flight: int = 8
    max_texts_per_request: int = 64
    max_tokens_per_request: int = 16_384

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InvalidInputError(f"Limits: {name} must be 1 or more, not {value}")

    def within(self, tokenizer: Mapping[str, str]) -> Limits:
        """Return these limits, lowered to what a server takes in one request.

        Args:
            tokenizer: The parameters in the configuration of the server's tokenizer. The profiles
                for TensorRT have limits in there, since an engine is built for a size of batches.
        """
        return replace(
            self,
            max_texts_per_request=min(
                self.max_texts_per_request,
                int(tokenizer.get("max_texts_per_request", self.max_texts_per_request)),
            ),
            max_tokens_per_request=min(
                self.max_tokens_per_request,
                int(tokenizer.get("max_request_tokens", self.max_tokens_per_request)),
            ),
        )
