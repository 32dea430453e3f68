"""Everything that can be set about serving, in one place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bgem3_server.restarts import RestartPolicy

_KEY: Final = re.compile(r"[0-9A-Za-z_-]{16,}")

Profile = Literal["gpu", "cpu", "gpu_heads", "cpu_heads", "tensorrt", "tensorrt_plan"]


class ServeSettings(BaseSettings):
    """How Triton is started, watched and stopped.

    Worked example: with the defaults a model whose process was killed is noticed within
    ``probe_interval_seconds`` and restarted two failed probes later, about 10 seconds in all; a
    server that crashes at every start is given up after 1 + 2 + 4 + 8 + 16 seconds of waiting.
    """

    model_config = SettingsConfigDict(env_prefix="BGEM3_", frozen=True)

    tritonserver: Path | None = Field(
        None,
        description="The tritonserver to run; by default the one on PATH or in /opt/tritonserver, "
        "else the one of the nvidia-pytriton wheel.",
    )
    profile: Literal[
        "auto", "gpu", "cpu", "gpu_heads", "cpu_heads", "tensorrt", "tensorrt_plan"
    ] = Field(
        "auto",
        description="Which configuration of the models to load: gpu is config.pbtxt, the others "
        "are configs/NAME.pbtxt; auto chooses gpu or cpu for this machine.",
    )
    address: str = Field(
        "127.0.0.1",
        description="The address to listen on; 0.0.0.0 opens all ports to the network.",
    )
    grpc_port: int = Field(8001, ge=0, le=65535, description="gRPC port; 0 picks a free one.")
    http_port: int = Field(8000, ge=0, le=65535, description="HTTP port; 0 picks a free one.")
    metrics_port: int = Field(8002, ge=0, le=65535, description="Metrics port; 0 picks a free one.")
    check_files: bool = Field(
        True,
        description="Compare the model's files with the checksums of the export before they are "
        "served; it takes a second for each GB or less.",
    )
    closed_endpoints: bool = Field(
        True,
        description="Ask for a key at Triton's endpoints for models, shared memory, traces and "
        "logs: through them a stranger could run code here.",
    )
    triton_key: SecretStr = Field(
        SecretStr(""),
        description="The key to the closed endpoints; by default a new one at each start, in a "
        "file that only this user can read; a secret, so it is taken from the environment alone.",
    )
    ready_timeout_seconds: float = Field(
        600, gt=0, le=86400, description="How long the models may take to load."
    )
    stop_timeout_seconds: int = Field(
        30, ge=0, le=86400, description="How long requests in flight may take to finish at a stop."
    )
    restart_limit: int = Field(
        5, ge=0, description="Restarts in a row before giving up; 0 never restarts."
    )
    restart_delay_seconds: float = Field(
        1, ge=0, le=3600, description="Wait before the first restart; each next wait is doubled."
    )
    restart_delay_limit_seconds: float = Field(
        30, ge=0, le=3600, description="The longest wait before a restart."
    )
    restart_reset_seconds: float = Field(
        60, ge=0, description="Time in service after which earlier failures no longer count."
    )
    probe_interval_seconds: float = Field(
        5,
        ge=0,
        description="Time between probes, each a text of one word to bge_m3; 0 sends none, and a "
        "model whose process died is then not noticed.",
    )
    probe_timeout_seconds: float = Field(
        10, gt=0, description="How long a probe may take before it is asked whether Triton works."
    )
    probe_failures: int = Field(
        3, ge=1, description="Failed probes in a row before Triton is restarted."
    )
    busy_limit_seconds: float = Field(
        600,
        gt=0,
        description="How long Triton may use the processor without answering anything before it "
        "is taken for hung.",
    )
    log_level: Literal["error", "warning", "info", "verbose"] = Field(
        "warning", description="Which lines of Triton's log to show on standard error."
    )
    log_file: Path | None = Field(None, description="A file to append Triton's whole log to.")
    ready_file: Path | None = Field(
        None,
        description="A file to write the addresses to, as JSON, when ready; it is removed at the "
        "stop.",
    )
    gateway: bool = Field(
        True, description="Start the HTTP service in front of Triton; without it Triton runs alone."
    )

    @field_validator("triton_key")
    @classmethod
    def _check_key(cls, key: SecretStr) -> SecretStr:
        if key.get_secret_value() and not _KEY.fullmatch(key.get_secret_value()):
            raise ValueError("16 letters, digits, '-' and '_' at least, and nothing else")
        return key

    @property
    def restart_policy(self) -> RestartPolicy:
        """What is done about failures."""
        return RestartPolicy(
            self.restart_limit,
            self.restart_delay_seconds,
            self.restart_delay_limit_seconds,
            self.restart_reset_seconds,
        )
