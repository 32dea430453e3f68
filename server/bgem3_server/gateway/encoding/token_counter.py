"""How many tokens texts have, before anything is computed; and which."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from bgem3_backend.contract import (
    ENSEMBLE,
    FULL_TOKEN_LENGTHS,
    MAX_LENGTH_PARAMETER,
    MAX_POSITIONS_TOKENS,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKENIZER,
    TOKENS,
    TRUNCATE_PARAMETER,
)
from bgem3_backend.packed_texts import Int32Array
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_client.errors import InvalidInputError
from bgem3_client.ragged import offsets_of
from bgem3_client.transports import InferRequest
from bgem3_server.gateway.calls.errors import NotOfferedError, TextTooLongError
from bgem3_server.gateway.operations.tracing import trace_headers
from bgem3_server.gateway.tritons.triton import Triton
from bgem3_server.gateway.tritons.tritons import Tritons

# The library works on all cores; a second thread lets a short request pass a long one.
_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text.

    Attributes:
        id: In the vocabulary.
        text: The characters it covers; of a special token, its name.
        special: Whether the tokenizer put it there: CLS and EOS.
        start: The first of those characters, counted in the text; None where there are none, or
            where that is not known.
        stop: The first character behind them.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class TokenCounter(Protocol):
    """Counts tokens as the model does, special tokens included and nothing truncated.

    Attributes:
        workers: Threads of this process that do it; 0 where Triton does.
    """

    workers: int

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """Return the length of each text: int32 [N], in tokens."""

    async def tokenize(
        self, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[Token]]:
        """Return the tokens of each text, nothing truncated."""

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the text of each row of token ids.

        Raises:
            InvalidInputError: An id is not in the vocabulary; ``index`` names the row.
            NotOfferedError: There is no tokenizer in this process.
        """


# A tenth of a millisecond: waking a thread takes longer.
_QUICK_CHARACTERS: Final = 512


class LocalTokenCounter:
    """The served model's tokenizer in this process, in threads beside the event loop."""

    def __init__(self, file: Path) -> None:
        """Read the tokenizer.

        Args:
            file: A ``tokenizer.json``, or the model repository that holds it.

        Raises:
            InvalidInputError: There is none.
        """
        self.workers = _THREADS
        self._tokenizer = TextTokenizer(_tokenizer_file(file))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenizer")

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """See :class:`TokenCounter`."""
        if sum(map(len, texts)) <= _QUICK_CHARACTERS:
            return self._count(texts)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._count, texts)

    async def tokenize(
        self, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[Token]]:
        """See :class:`TokenCounter`."""
        work = partial(self._tokenize, texts, add_special_tokens)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """See :class:`TokenCounter`."""
        size = self._tokenizer.vocabulary_size
        for index, row in enumerate(ids):
            # The library would leave them out without a word.
            for token_id in row:
                if not 0 <= token_id < size:
                    raise InvalidInputError(
                        f"{token_id} is not a token id: this model's are 0 to {size - 1}", index
                    )
        work = partial(self._tokenizer.decode, ids, skip_special_tokens=skip_special_tokens)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _count(self, texts: Sequence[str]) -> Int32Array:
        return np.array([len(encoding) for encoding in self._tokenizer.encode(texts)], np.int32)

    def _tokenize(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[Token]]:
        encodings = self._tokenizer.encode_with_offsets(
            texts, add_special_tokens=add_special_tokens
        )
        return [
            [
                Token(token_id, token, True, None, None)
                if special
                else Token(token_id, text[start:stop], False, start, stop)
                for token_id, token, special, (start, stop) in zip(
                    encoding.ids,
                    encoding.tokens,
                    encoding.special_tokens_mask,
                    encoding.offsets,
                    strict=True,
                )
            ]
            for text, encoding in zip(texts, encodings, strict=True)
        ]


class TritonTokenCounter:
    """The tokenizer inside Triton: the one step of the ensemble that its lengths need."""

    def __init__(self, tritons: Tritons, timeout_seconds: float) -> None:
        """Make one.

        Args:
            tritons: Count, in as many requests as they want them in.
            timeout_seconds: Time allowed for an answer.
        """
        self.workers = 0
        self._tritons = tritons
        self._timeout_seconds = timeout_seconds

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """See :class:`TokenCounter`.

        Raises:
            ServerError: Triton did not answer.
        """

        async def ask(triton: Triton) -> Int32Array:
            return await triton.client.count_tokens(
                texts, timeout_seconds=self._timeout_seconds, headers=trace_headers()
            )

        return (await self._tritons.do(ask)).result

    async def tokenize(
        self, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[list[Token]]:
        """See :class:`TokenCounter`; a token's place in the text is not known here.

        Raises:
            TextTooLongError: A text is longer than the model takes; ``index`` names it.
            ServerError: Triton did not answer.
        """
        request = InferRequest(
            tuple(text.encode() for text in texts),
            (TOKEN_IDS, TOKENS, TOKEN_LENGTHS, FULL_TOKEN_LENGTHS),
            {MAX_LENGTH_PARAMETER: MAX_POSITIONS_TOKENS, TRUNCATE_PARAMETER: True},
            ENSEMBLE.name,
            timeout_seconds=self._timeout_seconds,
            headers=trace_headers(),
        )
        response = (await self._tritons.do(lambda triton: triton.transport.infer(request))).result
        ids, tokens, lengths, full_lengths = (
            response.tensors[tensor.name][0]
            for tensor in (TOKEN_IDS, TOKENS, TOKEN_LENGTHS, FULL_TOKEN_LENGTHS)
        )
        for index in np.flatnonzero(full_lengths > lengths)[:1]:
            raise TextTooLongError(
                f"the text has more than {MAX_POSITIONS_TOKENS} tokens: without a tokenizer of its "
                "own this service can tokenize no longer one",
                index=int(index),
            )
        rows = []
        for start, stop in pairwise(offsets_of(lengths).tolist()):
            last = stop - start - 1
            row = [
                Token(token_id, token.decode(), place in (0, last), None, None)
                for place, (token_id, token) in enumerate(
                    zip(ids[start:stop].tolist(), tokens[start:stop], strict=True)
                )
            ]
            rows.append(row if add_special_tokens else row[1:-1])
        return rows

    async def decode(self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """See :class:`TokenCounter`."""
        raise NotOfferedError(
            "this service has no tokenizer of its own, and Triton's does not decode: start the "
            "service with the model repository (--tokenizer)"
        )


def _tokenizer_file(path: Path) -> Path:
    """The newest version's ``tokenizer.json`` of a repository, or the file itself."""
    if path.is_file():
        return path
    versions = sorted(
        (path / TOKENIZER.name).glob("*/tokenizer.json"), key=lambda file: int(file.parent.name)
    )
    if not versions:
        raise InvalidInputError(
            f"{path} is neither a tokenizer.json nor a model repository with one: name the "
            "directory that 'bgem3 export' has written"
        )
    return versions[-1]
