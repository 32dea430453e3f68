"""How many tokens texts have, before anything is computed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from bgem3_backend.contract import (
    ENSEMBLE,
    FULL_TOKEN_LENGTHS,
    MAX_LENGTH_PARAMETER,
    MAX_POSITIONS_TOKENS,
    TOKENIZER,
    TRUNCATE_PARAMETER,
)
from bgem3_backend.packed_texts import Int32Array
from bgem3_backend.text_tokenizer import TextTokenizer
from bgem3_client.errors import InvalidInputError
from bgem3_client.transports import InferRequest, Transport


class TokenCounter(Protocol):
    """Counts tokens as the model does, special tokens included and nothing truncated."""

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """Return the length of each text: int32 [N], in tokens."""


class LocalTokenCounter:
    """The served model's tokenizer in this process, in a thread beside the event loop."""

    def __init__(self, file: Path) -> None:
        """Read the tokenizer.

        Args:
            file: A ``tokenizer.json``, or the model repository that holds it.

        Raises:
            InvalidInputError: There is none.
        """
        self._tokenizer = TextTokenizer(_tokenizer_file(file))
        # The library works on all cores; a second thread lets a short request pass a long one.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="tokenizer")

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """See :class:`TokenCounter`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._count, texts)

    def _count(self, texts: Sequence[str]) -> Int32Array:
        return np.array([len(encoding) for encoding in self._tokenizer.encode(texts)], np.int32)


class TritonTokenCounter:
    """The tokenizer inside Triton: the one step of the ensemble that its lengths need."""

    def __init__(self, transport: Transport, timeout_seconds: float) -> None:
        """Make one.

        Args:
            transport: The way to Triton.
            timeout_seconds: Time allowed for an answer.
        """
        self._transport = transport
        self._timeout_seconds = timeout_seconds

    async def count(self, texts: Sequence[str]) -> Int32Array:
        """See :class:`TokenCounter`.

        Raises:
            ServerError: Triton did not answer.
        """
        response = await self._transport.infer(
            InferRequest(
                tuple(text.encode() for text in texts),
                (FULL_TOKEN_LENGTHS,),
                {MAX_LENGTH_PARAMETER: MAX_POSITIONS_TOKENS, TRUNCATE_PARAMETER: True},
                ENSEMBLE.name,
                timeout_seconds=self._timeout_seconds,
            )
        )
        lengths: Int32Array = response.tensors[FULL_TOKEN_LENGTHS.name][0]
        return lengths


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
