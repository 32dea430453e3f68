"""Everything that can be set about the HTTP service, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_MIB = 1024 * 1024


class GatewaySettings(BaseSettings):
    """How the HTTP service listens, admits, and answers.

    Worked example: with the defaults 5,200 passages of 100 tokens may wait or run at once; what
    comes on top is answered with 429 and the time after which there will be room.
    """

    model_config = SettingsConfigDict(env_prefix="BGEM3_", frozen=True)

    host: str = Field(
        # A service for others; Triton's own ports stay on loopback.
        "0.0.0.0",  # noqa: S104  # nosec B104
        description="The address the HTTP service listens on; 127.0.0.1 keeps it to this machine.",
    )
    port: int = Field(33330, ge=0, le=65535, description="Its port; 0 picks a free one.")
    triton: str = Field(
        "127.0.0.1:8001",
        description="Triton's gRPC port as host:port, grpc://host:port or grpcs://host:port.",
    )
    fallback_triton: str = Field(
        "",
        description="A second Triton with the same model, as `triton`: it answers while the first "
        "one cannot. One on the CPU will do. Without it the service is down while its Triton is.",
    )
    fallback_return_seconds: float = Field(
        10,
        ge=0,
        le=3600,
        description="How long the first Triton must answer its probes without a break before "
        "requests go back to it.",
    )
    canary_triton: str = Field(
        "",
        description="A Triton with a candidate model, as `triton`, that answers a share of the "
        "requests for vectors.",
    )
    canary_model_version: str = Field(
        "",
        description="The version of the model to ask the candidate's Triton for, as `bgem3 models "
        "list` shows it; without canary-triton, the service's own Triton is asked for it.",
    )
    canary_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="The share of the requests that the candidate answers, chosen by their texts; "
        "0 leaves it those that ask for it (X-Bgem3-Canary: always).",
    )
    tokenizer: Path | None = Field(
        None,
        description="The model repository that Triton serves, or its tokenizer.json, to count "
        "tokens with; without it Triton's own tokenizer is asked, which costs each request a "
        "round trip.",
    )
    max_texts: int = Field(2048, ge=1, description="Most texts in one HTTP request.")
    max_body_bytes: int = Field(16 * _MIB, ge=1024, description="Most bytes in one HTTP request.")
    max_upload_bytes: int = Field(
        256 * _MIB,
        ge=1024,
        description="Most bytes in one request of files to /index/files; they are written to the "
        "folder for temporary files (TMPDIR), for 16 requests at once.",
    )
    max_file_bytes: int = Field(
        64 * _MIB,
        ge=1024,
        description="Most bytes in one of these files; larger ones are skipped.",
    )
    max_load_tokens: int = Field(
        524_288,
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
    cache_bytes: int = Field(
        0,
        ge=0,
        description="Memory for results of texts that may come again; 0 keeps none. A dense "
        "vector of BGE-M3 takes 5 KB, lexical weights 1 KB and more, ColBERT vectors 4 KB a token.",
    )
    store: str | None = Field(
        None,
        description="Where the collections of /search and /index are: a folder (Qdrant inside this "
        "process: one worker only), http://host:6333 (a Qdrant server), milvus:FILE.db or "
        "milvus+http://host:19530. Without it these routes say that there is none.",
    )
    store_api_key: SecretStr = Field(
        SecretStr(""),
        description="The store's key, for a server that wants one; a secret, so it is taken from "
        "the environment alone.",
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
        description="Bulk requests go to Triton in parts that take about so long (a third of it "
        "while interactive requests keep coming), so that an interactive request never waits long.",
    )
    bulk_parts: int = Field(
        2,
        ge=1,
        description="Parts of bulk requests that Triton may have at once: two for each instance of "
        "its trunk (each GPU).",
    )
    bulk_patience_seconds: float = Field(
        2,
        gt=0,
        description="A bulk request that was let in so long ago goes first, and gets as much of "
        "Triton as all interactive ones together.",
    )
    request_timeout_seconds: float = Field(
        300,
        gt=0,
        description="Time allowed for a request; its X-Timeout-Seconds header may ask for less.",
    )
    body_timeout_seconds: float = Field(
        30,
        gt=0,
        description="How long a request's body may stand still on its way here, and its headers "
        "may take as a whole.",
    )
    model_names: str = Field(
        "",
        description="Further names, separated by commas, under which the model answers requests "
        "that name one.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that answer HTTP. One is enough unless JSON, not the model, is what "
        "takes the time. They share the port and nothing else: max-load-tokens, "
        "max-in-flight-tokens, max-result-bytes and cache-bytes are divided among them.",
    )
    stop_timeout_seconds: int = Field(
        30, ge=0, le=86400, description="How long requests in flight may take to finish at a stop."
    )
    drain_delay_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        description="How long requests are still accepted at a stop, while /health/ready says no: "
        "as long as a load balancer in front needs to notice.",
    )
    hang_timeout_seconds: float = Field(
        30,
        gt=0,
        le=3600,
        description="A worker that does nothing for so long is replaced, where there are several "
        "or 'bgem3 serve' watches them.",
    )
    tls_certificate: Path | None = Field(
        None,
        description="A PEM file with the service's certificate and those that lead to its "
        "authority; with tls-key, the service speaks HTTPS.",
    )
    tls_key: Path | None = Field(
        None, description="A PEM file with the certificate's private key, not encrypted."
    )
    tls_client_authority: Path | None = Field(
        None,
        description="A PEM file with authorities: only callers with a certificate of theirs are "
        "answered.",
    )
    ready_file: Path | None = Field(
        None,
        description="A file to write the addresses to, as JSON, when ready; it is removed at the "
        "stop.",
    )
    auto_truncate: bool = Field(
        False,
        description="Cut texts that are too long also where a request does not say what to do with "
        "them, in the dialects of OpenAI and text-embeddings-inference, which else refuse them.",
    )
    ready_interval_seconds: float = Field(
        5,
        ge=0,
        le=3600,
        description="Time between probes, each a short text for all representations; 1 at most "
        "while the service is not ready. 0 sends none, and the service always says it is ready.",
    )
    answer_timeout_seconds: float = Field(
        60,
        gt=0,
        le=3600,
        description="How long Triton may answer nothing, beyond what its work should take, before "
        "the service says that it is not ready.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="A file with the keys of callers, one a line, lines with # left out; it is "
        "read again when it changes. Without keys everybody is answered.",
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys of callers, separated by commas, beside those of the file; a secret, so "
        "it is taken from the environment alone.",
    )
    metrics_need_key: bool = Field(
        False, description="Ask for a key at /metrics too, where keys are set."
    )
    cors_origins: str = Field(
        "",
        description="Origins, separated by commas, whose pages may call the service from a "
        "browser, as in https://app.example.com; * for all. Its own page always may.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="How log lines look; auto is console on a terminal, else json."
    )
    service_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Which log lines of the service to write; info has one for each request, "
        "debug also those of health checks.",
    )
    otlp_endpoint: str = Field(
        "",
        description="Where to send traces over OTLP/HTTP, as in http://127.0.0.1:4318; "
        "OTEL_EXPORTER_OTLP_ENDPOINT does the same. Without it a caller's trace is only passed on "
        "to Triton.",
    )

    @property
    def has_canary(self) -> bool:
        """Whether a candidate answers some requests."""
        return bool(self.canary_triton or self.canary_model_version)

    @property
    def has_other_tritons(self) -> bool:
        """Whether answers must say which Triton they come from."""
        return bool(self.fallback_triton) or self.has_canary

    @property
    def has_keys(self) -> bool:
        """Whether callers must have a key."""
        return self.api_keys_file is not None or bool(self.api_keys.get_secret_value())
