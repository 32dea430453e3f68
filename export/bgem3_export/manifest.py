"""``manifest.json``: what a repository holds, where it came from, and how well it was checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bgem3_export.errors import RepositoryError
from bgem3_export.int8.report import QuantizationReport
from bgem3_export.parity_report import ParityReport
from bgem3_export.tensorrt.length_mix import LengthMix

MANIFEST_FILE: Final = "manifest.json"
FORMAT_VERSION: Final = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelShape(_Part):
    """What the templates are rendered with: it holds for every version of a repository."""

    hidden_size: int
    colbert_size: int
    vocabulary_size: int
    max_length_tokens: int
    ignored_token_ids: tuple[int, ...]
    precision: Literal["fp32", "fp16"]
    length_mix: LengthMix = Field(
        "passages", description="What the profiles for TensorRT are planned for"
    )


class EngineTarget(_Part):
    """What a plan of TensorRT was built for: it runs on nothing else."""

    tensorrt: str = Field(description="The version that built it, as in 10.15.1.29")
    gpu: str = Field(description="The name of the GPU")
    compute_capability: str = Field(description="Of the GPU, as in 9.0")


class Version(_Part):
    """One export."""

    source: str
    revision: str
    demo: bool
    created: str = Field(description="UTC, ISO 8601")
    checked_on: Literal["cpu", "cuda"]
    exporter: str = Field(description="SHA-256 over the exporter's own files and templates")
    tools: dict[str, str] = Field(description="Versions of what made it")
    files: dict[str, str] = Field(description="SHA-256 of each file, by path in the repository")
    parity: ParityReport
    engine: EngineTarget | None = Field(None, description="What model.plan was built for")
    quantization: QuantizationReport | None = Field(
        None, description="How well model.int8.onnx was checked"
    )


class Manifest(_Part):
    """A repository's manifest; versions are Triton's, as strings."""

    format_version: Literal[1] = FORMAT_VERSION
    model: ModelShape
    versions: dict[Annotated[str, StringConstraints(pattern="^[1-9][0-9]*$")], Version] = Field(
        min_length=1
    )

    @property
    def newest(self) -> str:
        """The version that Triton serves by default."""
        return max(self.versions, key=int)

    def write(self, repository: Path) -> None:
        """Write the manifest into a repository."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (repository / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, repository: Path) -> Manifest:
        """Read the manifest of a repository.

        Raises:
            RepositoryError: There is none, it is damaged, or another release wrote it.
        """
        path = repository / MANIFEST_FILE
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RepositoryError(
                f"{repository} has no {MANIFEST_FILE}: it is not a repository that 'bgem3 export' "
                "made; choose another folder"
            ) from error
        except OSError as error:
            raise RepositoryError(f"{path} cannot be read: {error.strerror}") from error
        # ValueError: no UTF-8, no JSON, or an integer of thousands of digits.
        except (ValueError, RecursionError) as error:
            raise RepositoryError(f"{path} is damaged: {error}; export again") from error
        if isinstance(content, dict) and content.get("format_version") != FORMAT_VERSION:
            raise RepositoryError(
                f"{path} has format {content.get('format_version')!r}, and this release writes "
                f"format {FORMAT_VERSION}: export into a new folder"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise RepositoryError(f"{path} is damaged: {error}; export again") from error
