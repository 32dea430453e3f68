"""What every integration holds: where the model is served, and a client for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.client import Client
from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import Output

DEFAULT_URL: Final = "bgem3://127.0.0.1:33330"
API_KEY_VARIABLE: Final = "BGEM3_API_KEY"
"""The environment variable with the key, where none is given."""


@dataclass(frozen=True)
class Connection:
    """A server, and a client that is made when it is first needed.

    Frameworks copy and pickle what they are given: the copy has the same settings, and makes a
    client of its own.

    Attributes:
        url: As `Client` takes it.
        api_key: Sent as ``Authorization: Bearer``; None for none.
        max_length: Tokens a text is cut to, special tokens included.
        truncate: False makes a longer text an error.
        timeout_seconds: Time allowed for a call; None for no limit.
    """

    url: str = DEFAULT_URL
    api_key: str | None = field(default=None, repr=False)
    max_length: int = MAX_POSITIONS_TOKENS
    truncate: bool = True
    timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS

    @cached_property
    def client(self) -> Client:
        """The client; any thread may use it.

        Raises:
            InvalidInputError: The url or the key is none.
        """
        headers = {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}
        return Client(self.url, headers=headers, timeout_seconds=self.timeout_seconds)

    def encode(self, texts: Sequence[str], outputs: Collection[Output]) -> Embeddings:
        """Return the representations of one text or more, in their order.

        Raises:
            BgeM3Error: As `Client.encode`.
        """
        return self.client.encode(
            texts, outputs, max_length=self.max_length, truncate=self.truncate
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "client"}
