"""Everything that can be set about the HTTP service, in one place."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIB = 1024 * 1024


class GatewaySettings(BaseSettings):
    """How the HTTP service listens, admits, and answers.

    Worked example: with the defaults 2,600 passages of 100 tokens may wait or run at once; what
    comes on top is answered with 429 and the time after which there will be room.
    """

    model_config = SettingsConfigDict(env_prefix="BGEM3_", frozen=True)

    host: str = Field(
        "0.0.0.0",  # noqa: S104 - a service for others; Triton's own ports stay on loopback
        description="The address the HTTP service listens on; 127.0.0.1 keeps it to this machine.",
    )
    port: int = Field(33330, ge=0, le=65535, description="Its port; 0 picks a free one.")
    triton: str = Field(
        "127.0.0.1:8001",
        description="Triton's gRPC port as host:port, grpc://host:port or grpcs://host:port.",
    )
    tokenizer: Path | None = Field(
        None,
        description="The model repository that Triton serves, or its tokenizer.json, to count "
        "tokens with; without it Triton's own tokenizer is asked, which costs each request a "
        "round trip.",
    )
    max_texts: int = Field(2048, ge=1, description="Most texts in one HTTP request.")
    max_body_bytes: int = Field(16 * _MIB, ge=1024, description="Most bytes in one HTTP request.")
    max_load_tokens: int = Field(
        262_144,
        ge=8192,
        description="Tokens that may wait or run at once, in all requests together; what would "
        "go over is refused with 429.",
    )
    max_in_flight_tokens: int = Field(
        16_384, ge=512, description="Tokens that Triton may have at once."
    )
    max_result_bytes: int = Field(
        1024 * _MIB,
        ge=_MIB,
        description="Memory that answers may take until they are sent, in all requests together.",
    )
    interactive_tokens: int = Field(
        2048,
        ge=0,
        description="A request of up to so many tokens goes before larger ones, unless its "
        "X-Priority header says otherwise.",
    )
    bulk_slice_seconds: float = Field(
        0.05,
        gt=0,
        le=60,
        description="Bulk requests go to Triton in parts that take about so long (half of it while "
        "interactive requests keep coming), so that an interactive request never waits long.",
    )
    bulk_parts: int = Field(
        2,
        ge=1,
        description="Parts of bulk requests that Triton may have at once: two for each instance of "
        "its trunk (each GPU).",
    )
    bulk_patience_seconds: float = Field(
        5,
        gt=0,
        description="A bulk request that waited so long for its turn goes before interactive ones.",
    )
    request_timeout_seconds: float = Field(
        300,
        gt=0,
        description="Time allowed for a request; its X-Timeout-Seconds header may ask for less.",
    )
    body_timeout_seconds: float = Field(
        30, gt=0, description="How long a request's body may stand still on its way here."
    )
    model_names: str = Field(
        "",
        description="Further names, separated by commas, under which the model answers requests "
        "that name one.",
    )
