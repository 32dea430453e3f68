"""Text to token ids, as FlagEmbedding's tokenizer does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from bgem3_backend.contract import MAX_LENGTH_PARAMETER, TRUNCATE_PARAMETER
from bgem3_backend.errors import InvalidRequestError
from bgem3_backend.packed_texts import Int32Array, PackedTexts


@dataclass(frozen=True)
class Truncation:
    """What to do with long texts.

    Attributes:
        max_length_tokens: The longest result, special tokens included; at least 1.
        truncate: Whether a longer text is cut; otherwise it is an error.
    """

    max_length_tokens: int
    truncate: bool = True

    @classmethod
    def from_parameters(cls, parameters: dict[str, object], max_length_tokens: int) -> Truncation:
        """Read the request parameters ``max_length`` and ``truncate``; others are not ours.

        Args:
            parameters: As they came with the request.
            max_length_tokens: The longest text the model takes, and the default.

        Raises:
            InvalidRequestError: A value of another type or out of range.
        """
        max_length = parameters.get(MAX_LENGTH_PARAMETER, max_length_tokens)
        # bool is an int to Python, and not to anybody who sends one here.
        if isinstance(max_length, bool) or not isinstance(max_length, int):
            raise InvalidRequestError(
                f"'{MAX_LENGTH_PARAMETER}' is {max_length!r}; send an integer from 1 to "
                f"{max_length_tokens}"
            )
        if not 1 <= max_length <= max_length_tokens:
            raise InvalidRequestError(
                f"'{MAX_LENGTH_PARAMETER}' is {max_length}; it must be from 1 to "
                f"{max_length_tokens}, special tokens included"
            )
        truncate = parameters.get(TRUNCATE_PARAMETER, True)
        if not isinstance(truncate, bool):
            raise InvalidRequestError(
                f"'{TRUNCATE_PARAMETER}' is {truncate!r}; send the boolean true or false"
            )
        return cls(max_length, truncate)


@dataclass(frozen=True)
class TokenizedTexts:
    """The tokens of one request.

    Attributes:
        texts: The packed tokens, truncated.
        full_lengths: INT32 [N], tokens before truncation.
    """

    texts: PackedTexts
    full_lengths: Int32Array

    @property
    def truncated_count(self) -> int:
        """How many texts were cut."""
        return int((self.full_lengths > self.texts.lengths).sum())


class TextTokenizer:
    """A ``tokenizer.json``; one call serves the texts of many requests.

    The library does the work on all cores without holding Python's lock.
    """

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        # The lengths before truncation are part of the answer, so it is done here.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # What surrounds every text: <s> and </s>.
        self._special_count = self._tokenizer.num_special_tokens_to_add(is_pair=False)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenize texts, special tokens added, nothing truncated."""
        return self._tokenizer.encode_batch_fast(list(texts))

    def encode_with_offsets(
        self, texts: Sequence[str], *, add_special_tokens: bool = True
    ) -> list[Encoding]:
        """Tokenize texts as :meth:`encode` does, and say which characters each token covers."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)

    @property
    def vocabulary_size(self) -> int:
        """How many ids there are: 0 to this, exclusive."""
        return self._tokenizer.get_vocab_size()

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the text that each row of token ids stands for; unknown ids are left out."""
        return self._tokenizer.decode_batch(
            [list(row) for row in ids], skip_special_tokens=skip_special_tokens
        )

    def pack(self, encodings: Sequence[Encoding], truncation: Truncation) -> TokenizedTexts:
        """Truncate the texts of one request and concatenate them.

        Raises:
            InvalidRequestError: A text is too long and must not be cut; the message says by how
                much.
        """
        limit = truncation.max_length_tokens
        full_lengths = np.array([len(encoding) for encoding in encodings], np.int32)
        if not truncation.truncate:
            for index in np.flatnonzero(full_lengths > limit)[:1]:
                raise InvalidRequestError(
                    f"the text has {full_lengths[index]} tokens, and '{MAX_LENGTH_PARAMETER}' is "
                    f"{limit}: shorten it, or send '{TRUNCATE_PARAMETER}' true to have it cut",
                    index=int(index),
                )
        ids = [self._truncate(encoding.ids, limit) for encoding in encodings]
        lengths = np.array([len(row) for row in ids], np.int32)
        packed = np.fromiter((i for row in ids for i in row), np.int32, count=int(lengths.sum()))
        return TokenizedTexts(PackedTexts(packed, lengths), full_lengths)

    def token_texts(self, vocabulary_size: int) -> list[str]:
        """Return the text that each id below ``vocabulary_size`` stands for.

        Source: FlagEmbedding 1.4.2, ``M3Embedder.convert_id_to_token``: each id decoded alone. An
        id that the model has and the tokenizer has not stands for no text.
        """
        return self.decode([[token] for token in range(vocabulary_size)], skip_special_tokens=False)

    def _truncate(self, ids: list[int], limit: int) -> list[int]:
        if len(ids) <= limit:
            return ids
        if limit < self._special_count:
            return ids[:limit]
        return [*ids[: limit - 1], ids[-1]]
