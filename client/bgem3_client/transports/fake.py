"""A transport without a server, for tests."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    DENSE,
    FULL_TOKEN_LENGTHS,
    MAX_LENGTH_PARAMETER,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKEN_STATES,
    TOKENS,
    TRUNCATE_PARAMETER,
)
from bgem3_client.errors import ClientClosedError, InvalidInputError
from bgem3_client.transports.base import InferRequest, InferResponse, ModelMetadata

_WORD: Final = re.compile(r"\w+|[^\w\s]")
_CLS, _EOS, _FIRST_WORD_ID = 0, 2, 4
_WORD_IDS: Final = 250_002 - _FIRST_WORD_ID


class FakeTransport:
    """Answers as a server would, at once and always the same, with vectors made from words.

    A word (or a punctuation mark) is a token, and between CLS and EOS a text has one for each;
    its id and its vector come from a hash of the word. A text's dense vector is the sum of its
    words' vectors, so that texts that share words are alike: enough to test a search with, and
    nothing to judge a model by. That sum is also the hidden state of CLS; another token's is its
    word's vector. ``max_length`` and ``truncate`` are honoured.

    ``script`` says what happens to the first requests instead, one entry each: an exception is
    raised, an `InferResponse` returned, None answered as usual.

        >>> from bgem3_client import Client, FakeTransport, UnavailableError
        >>> transport = FakeTransport(script=[UnavailableError("busy")])
        >>> with Client(transport=transport) as client:
        ...     embeddings = client.encode(["hello world"])
        >>> len(transport.requests)  # the client tried again
        2

    Attributes:
        requests: The requests seen so far.
        closed: Whether it was closed.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 16,
        colbert_size: int = 16,
        script: Iterable[Exception | InferResponse | None] = (),
        delay_seconds: float = 0.0,
    ) -> None:
        """Make one.

        Args:
            hidden_size: Numbers in a dense vector.
            colbert_size: Numbers in a ColBERT vector.
            script: What to do with the first requests.
            delay_seconds: Time until each answer.
        """
        self.requests: list[InferRequest] = []
        self.closed = False
        self._hidden_size = hidden_size
        self._colbert_size = colbert_size
        self._script = deque(script)
        self._delay_seconds = delay_seconds

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer by the script, then from the words; see :class:`Transport`."""
        if self.closed:
            raise ClientClosedError("the fake transport is closed")
        self.requests.append(request)
        step = self._script.popleft() if self._script else None
        await asyncio.sleep(self._delay_seconds)
        if isinstance(step, Exception):
            raise step
        return self._answer(request) if step is None else step

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """Return the sizes that it was made with; see :class:`Transport`."""
        shapes = {
            DENSE.name: (-1, -1, self._hidden_size),
            TOKEN_STATES.name: (-1, -1, self._hidden_size),
            COLBERT.name: (-1, -1, self._colbert_size),
        }
        return ModelMetadata(model, (model_version or "1",), shapes)

    async def close(self) -> None:
        """Refuse whatever comes after; see :class:`Transport`."""
        self.closed = True

    def _answer(self, request: InferRequest) -> InferResponse:
        max_length = int(request.parameters[MAX_LENGTH_PARAMETER])
        texts = [_WORD.findall(text.decode()) for text in request.texts]
        full_lengths = [len(words) + 2 for words in texts]
        for index, length in enumerate(full_lengths):
            if length > max_length and not request.parameters[TRUNCATE_PARAMETER]:
                raise InvalidInputError(
                    f"the text has {length} tokens, more than max_length={max_length}", index=index
                )
        texts = [words[: max(max_length - 2, 0)] for words in texts]
        # A cut text still has CLS and EOS, or what max_length leaves of them.
        tokens = [["<s>", *words, "</s>"][:max_length] for words in texts]
        ids = [[_token_id(token) for token in row] for row in tokens]
        sparse = [np.unique([token_id for token_id in row if token_id >= 4]) for row in ids]
        colbert = _normalized(
            [_vector(token, self._colbert_size) for row in tokens for token in row[1:]],
            self._colbert_size,
        )
        states = [
            np.array([_vector(token, self._hidden_size) for token in row], dtype=np.float32)
            for row in tokens
        ]
        for rows in states:
            rows[0] = rows.sum(axis=0)
        tensors: dict[str, NDArray[Any]] = {
            TOKEN_LENGTHS.name: np.array([len(row) for row in tokens], dtype=np.int32),
            FULL_TOKEN_LENGTHS.name: np.array(full_lengths, dtype=np.int32),
            TOKEN_IDS.name: np.array(list(chain.from_iterable(ids)), dtype=np.int32),
            TOKENS.name: np.array([t.encode() for row in tokens for t in row], dtype=np.object_),
            TOKEN_STATES.name: np.concatenate(states),
            DENSE.name: _normalized([rows[0] for rows in states], self._hidden_size),
            SPARSE_INDICES.name: np.concatenate(sparse).astype(np.int32),
            SPARSE_VALUES.name: (np.concatenate(sparse) % 97 + 1).astype(np.float32) / 97,
            SPARSE_LENGTHS.name: np.array([len(row) for row in sparse], dtype=np.int32),
            COLBERT.name: colbert,
            COLBERT_FP16.name: colbert.astype(np.float16),
        }
        return InferResponse(
            {output.name: tensors[output.name][np.newaxis] for output in request.outputs},
            request.model_version or "1",
        )


def _token_id(token: str) -> int:
    special = {"<s>": _CLS, "</s>": _EOS}
    return special.get(token, _FIRST_WORD_ID + crc32(token.encode()) % _WORD_IDS)


def _vector(token: str, size: int) -> NDArray[np.float64]:
    return np.random.default_rng(crc32(token.encode())).standard_normal(size)


def _normalized(vectors: list[Any], size: int) -> NDArray[np.float32]:
    rows = np.array(vectors, dtype=np.float32).reshape(-1, size)
    normalized: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normalized
