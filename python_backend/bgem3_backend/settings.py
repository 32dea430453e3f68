"""Settings of the Python models, read from the environment of the Triton server."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class BackendSettings(BaseSettings):
    """Limits and resources of one model process.

    Worked example: with the defaults a request may hold 1,024 queries of 32 tokens, or 4 documents
    of 8,192; a batch of such requests is computed 512 tokens at a time.
    """

    model_config = SettingsConfigDict(env_prefix="BGEM3_", frozen=True)

    max_texts_per_request: int = Field(
        2048, ge=1, description="Most texts that one request may hold."
    )
    max_request_bytes: int = Field(
        16 * 1024 * 1024, ge=1, description="Most bytes of text that one request may hold."
    )
    max_request_tokens: int = Field(
        32768,
        ge=8192,
        description="Most tokens, after truncation, that one request may hold; their hidden "
        "states stay in memory until the heads have read them (4 KB a token in FP32).",
    )
    microbatch_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens, padding in attention included, that the CPU trunk computes at once; "
        "a longer text is computed alone. By default what is fastest in the engine: 1,024 in "
        "OpenVINO, 512 in ONNX Runtime.",
    )
    trunk_engine: Literal[
        "auto", "openvino-bf16", "openvino-int8", "openvino-fp32", "onnxruntime-fp32"
    ] = Field(
        "auto",
        description="What runs the CPU trunk, and in which precision; by default the fastest that "
        "this processor, this installation and the export allow.",
    )
    trunk_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        description="Threads of the CPU trunk; by default one for each usable core.",
    )
    head_threads: int = Field(
        1, ge=1, description="Threads of a head on a CPU; more take cores away from the trunk."
    )
