"""What a call asks about its texts, and how an answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import (
    FULL_TOKEN_LENGTHS,
    MAX_LENGTH_PARAMETER,
    MAX_POSITIONS_TOKENS,
    TRUNCATE_PARAMETER,
    Tensor,
)
from bgem3_client.answer import read_answer, read_token_counts
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import EncodeOptions
from bgem3_client.transports import InferResponse

Answer = TypeVar("Answer")
TokenCounts: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """The same for every request of a call.

    Attributes:
        outputs: The ensemble's outputs to ask for.
        parameters: The request parameters.
        max_length: Tokens that a text is cut to; None where it counts as a whole.
        read: Makes an answer of the response to a request of so many texts.
        concatenate: Makes one answer of several, in order.
    """

    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, int | bool]
    max_length: int | None
    read: Callable[[InferResponse, int], Answer]
    concatenate: Callable[[Sequence[Answer]], Answer]


def embeddings_of(options: EncodeOptions) -> Question[Embeddings]:
    """Return the question for the representations of texts."""
    return Question(
        options.tensors,
        options.parameters,
        options.max_length,
        partial(_read_embeddings, options),
        Embeddings.concatenate,
    )


def _read_embeddings(options: EncodeOptions, response: InferResponse, texts: int) -> Embeddings:
    return read_answer(response, options, texts)


def _concatenate(parts: Sequence[NDArray[Any]]) -> TokenCounts:
    return np.concatenate(parts)


# Triton runs the steps that the outputs need: this one needs the tokenizer alone. Its lengths
# before truncation know no limit; the parameters are those of an ordinary request.
TOKEN_COUNTS: Final = Question(
    (FULL_TOKEN_LENGTHS,),
    {MAX_LENGTH_PARAMETER: MAX_POSITIONS_TOKENS, TRUNCATE_PARAMETER: True},
    None,
    read_token_counts,
    _concatenate,
)
"""The question how many tokens texts have, special tokens included and nothing truncated."""
