"""What turns texts into vectors: a server, or a peer in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from bgem3_client.client import Client
from bgem3_client.embeddings import Parts
from bgem3_client.encode_request import ALL_OUTPUTS, Output
from bgem3_retrieval.errors import ModelChangedError


@dataclass(frozen=True)
class Encoded:
    """What came of some texts.

    Attributes:
        parts: Their representations, those that were asked for.
        seconds: Until they were there.
        tokens: Their tokens, special tokens included; None where it cannot be seen.
        truncated: How many of them were cut; None where it cannot be seen.
    """

    parts: Parts
    seconds: float
    tokens: int | None
    truncated: int | None


class Encoder(Protocol):
    """Gives representations of texts.

    Attributes:
        outputs: Those that it has.
    """

    outputs: frozenset[Output]

    def encode(self, texts: list[str], outputs: frozenset[Output]) -> Encoded:
        """Return what was asked for of the texts, in their order."""


class ServedEncoder:
    """A server of this project, through its client."""

    outputs = ALL_OUTPUTS

    def __init__(self, client: Client, max_length: int, timeout_seconds: float) -> None:
        """Make one.

        Args:
            client: It stays the caller's to close.
            max_length: Tokens that longer texts are cut to, special tokens included.
            timeout_seconds: Time allowed for one call, retries included.
        """
        self._client = client
        self._max_length = max_length
        self._timeout_seconds = timeout_seconds
        self._model_version: str | None = None

    def encode(self, texts: list[str], outputs: frozenset[Output]) -> Encoded:
        """Send the texts, several requests at once; see :class:`Encoder`.

        Raises:
            ModelChangedError: Another version of the model answers than before.
            ServerError: The server failed, or could not be reached, each time.
        """
        begin = time.perf_counter()
        embeddings = self._client.encode(
            texts, outputs, max_length=self._max_length, timeout_seconds=self._timeout_seconds
        )
        seconds = time.perf_counter() - begin
        if self._model_version not in (None, embeddings.model_version):
            raise ModelChangedError(
                f"the server changed the model's version from {self._model_version} to "
                f"{embeddings.model_version}, and vectors of two versions do not go together: run "
                "the command again"
            )
        self._model_version = embeddings.model_version
        return Encoded(
            embeddings.parts,
            seconds,
            int(embeddings.token_lengths.sum()),
            int(embeddings.truncated.sum()),
        )
