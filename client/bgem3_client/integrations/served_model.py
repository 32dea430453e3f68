"""The settings that integrations built on pydantic share."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, SecretStr

from bgem3_backend.contract import MAX_POSITIONS_TOKENS
from bgem3_client.async_client import DEFAULT_TIMEOUT_SECONDS
from bgem3_client.integrations.connection import API_KEY_VARIABLE, DEFAULT_URL, Connection


def _api_key() -> SecretStr | None:
    key = os.environ.get(API_KEY_VARIABLE)
    return SecretStr(key) if key else None


class ServedModel(BaseModel):
    """Where the model is served, and how texts are cut."""

    url: str = Field(
        default=DEFAULT_URL,
        description="The server: bgem3://host:33330 (bgem3s:// encrypted) for the HTTP service, "
        "grpc://host:8001 or http://host:8000 for Triton itself.",
    )
    api_key: SecretStr | None = Field(
        default_factory=_api_key,
        exclude=True,
        description=f"The service's key, where it wants one; ${API_KEY_VARIABLE} by default.",
    )
    max_length: int = Field(
        default=MAX_POSITIONS_TOKENS,
        ge=1,
        le=MAX_POSITIONS_TOKENS,
        description="Tokens a text is cut to, special tokens included.",
    )
    truncate: bool = Field(default=True, description="False makes a longer text an error.")
    timeout_seconds: float | None = Field(
        default=DEFAULT_TIMEOUT_SECONDS,
        gt=0,
        description="Time allowed for a call; None for no limit.",
    )

    _connection: Connection = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401 - pydantic's signature
        """Keep the settings; nothing is sent yet."""
        super().model_post_init(context)
        self._connection = Connection(
            self.url,
            None if self.api_key is None else self.api_key.get_secret_value(),
            self.max_length,
            self.truncate,
            self.timeout_seconds,
        )
