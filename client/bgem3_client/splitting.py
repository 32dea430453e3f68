"""A call's texts, cut into requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bgem3_client.limits import Limits

_SPECIAL_TOKENS = 2


def estimated_tokens(text: bytes, max_length: int | None) -> int:
    """Return about how many tokens a text has, from above: a token a byte, ``max_length`` at most.

    It may have more, where normalisation makes a character longer; that is rare, and harmless
    where the estimate is used.
    """
    tokens = len(text) + _SPECIAL_TOKENS
    return tokens if max_length is None else min(tokens, max_length)


def split(tokens: Sequence[int], limits: Limits) -> Iterator[slice]:
    """Yield the texts of each request, in order; none is empty, and none is left out.

    Args:
        tokens: N estimated lengths.
        limits: What fits in one request.
    """
    start = 0
    tokens_in_request = 0
    for position, text_tokens in enumerate(tokens):
        texts_in_request = position - start
        if texts_in_request and (
            texts_in_request == limits.max_texts_per_request
            or tokens_in_request + text_tokens > limits.max_tokens_per_request
        ):
            yield slice(start, position)
            start = position
            tokens_in_request = 0
        tokens_in_request += text_tokens
    if start < len(tokens):
        yield slice(start, len(tokens))
