"""Texts as packed tokens, the form that passes between the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bgem3_backend.contract import HIDDEN_STATES, INPUT_IDS, LENGTHS
from bgem3_backend.errors import InvalidRequestError

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PackedTexts:
    """The texts of one request, concatenated without padding.

    Attributes:
        input_ids: INT32 [T], all tokens of all texts.
        lengths: INT32 [N], tokens of each text, at least 1; they add up to T.
    """

    input_ids: Int32Array
    lengths: Int32Array

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each text begins in ``input_ids``: [N]."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        return ends - self.lengths


def texts_with(rows: npt.NDArray[np.bool_], counts: npt.NDArray[np.integer[Any]]) -> list[int]:
    """Return the positions, ascending, of the texts of which a row is marked.

    Args:
        rows: [R], which rows are marked.
        counts: [N], rows of each text, adding up to R.
    """
    owners = np.repeat(np.arange(counts.size), counts)
    return [int(text) for text in np.unique(owners[rows])]


def check_lengths(lengths: Int32Array, token_count: int, max_length_tokens: int) -> None:
    """Hold the lengths of a request to the contract; steps can be reached by anyone.

    Args:
        lengths: [N], tokens of each text.
        token_count: Rows of the tensor that the lengths divide.
        max_length_tokens: The longest text the model takes.

    Raises:
        InvalidRequestError: No text, a length out of range, or lengths that do not add up.
    """
    if lengths.size == 0:
        raise InvalidRequestError(f"'{LENGTHS.name}' is empty: send at least one text")
    bad = np.flatnonzero((lengths < 1) | (lengths > max_length_tokens))
    if bad.size:
        index = int(bad[0])
        raise InvalidRequestError(
            f"'{LENGTHS.name}' says {lengths[index]} tokens; a text has 1 to {max_length_tokens}",
            index=index,
        )
    total = int(lengths.sum(dtype=np.int64))
    if total != token_count:
        raise InvalidRequestError(
            f"'{LENGTHS.name}' adds up to {total} tokens, but {token_count} were sent"
        )


def check_packed_texts(
    texts: PackedTexts, vocabulary_size: int, max_length_tokens: int, max_tokens: int
) -> None:
    """Hold the packed tokens of a request to the contract.

    Raises:
        InvalidRequestError: As :func:`check_lengths`; an id outside the vocabulary; too many
            tokens.
    """
    check_lengths(texts.lengths, texts.input_ids.size, max_length_tokens)
    check_tokens(texts.input_ids, vocabulary_size, max_tokens, texts.lengths)


def check_tokens(
    input_ids: Int32Array,
    vocabulary_size: int,
    max_tokens: int,
    lengths: Int32Array | None = None,
) -> None:
    """Hold the tokens of a request to the contract.

    Args:
        input_ids: [T].
        vocabulary_size: Above every id.
        max_tokens: The most that are taken at once.
        lengths: As for :func:`check_ids`.

    Raises:
        InvalidRequestError: No token or too many, or an id outside the vocabulary.
    """
    if input_ids.size == 0:
        raise InvalidRequestError(f"'{INPUT_IDS.name}' is empty: send at least one token")
    if input_ids.size > max_tokens:
        raise InvalidRequestError(
            f"the request holds {input_ids.size} tokens; at most {max_tokens} are taken at once: "
            "send fewer texts a request"
        )
    check_ids(input_ids, vocabulary_size, lengths)


def check_ids(
    input_ids: Int32Array, vocabulary_size: int, lengths: Int32Array | None = None
) -> None:
    """Hold the ids of a request to the vocabulary.

    Args:
        input_ids: [T].
        vocabulary_size: Above every id.
        lengths: [N], adding up to T, where it is known to which text a token belongs.

    Raises:
        InvalidRequestError: An id is negative or not below ``vocabulary_size``; with ``lengths``
            the text is named.
    """
    bad = np.flatnonzero((input_ids < 0) | (input_ids >= vocabulary_size))
    if bad.size:
        position = int(bad[0])
        index = None
        if lengths is not None:
            index = int(np.searchsorted(np.cumsum(lengths), position, side="right"))
        raise InvalidRequestError(
            f"'{INPUT_IDS.name}' holds {input_ids[position]}; the vocabulary has ids 0 to "
            f"{vocabulary_size - 1}",
            index=index,
        )


def check_hidden_states_shape(shape: tuple[int, ...], hidden_size: int) -> None:
    """Hold the shape of hidden states, batch dimension taken off, to [T, H].

    Raises:
        InvalidRequestError: Another rank or width.
    """
    if len(shape) != 2 or shape[1] != hidden_size:
        raise InvalidRequestError(
            f"'{HIDDEN_STATES.name}' has shape {list(shape)}; [tokens, {hidden_size}] is expected"
        )
