"""The model repository that is served: is it one, and what does it say about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from bgem3_backend.contract import ENSEMBLE
from bgem3_server.errors import RepositoryError

MANIFEST: Final = "manifest.json"


class _Part(BaseModel):
    # Whatever else the export writes is for others; an older export may have written less.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelShape(_Part):
    """What holds for every version."""

    hidden_size: int | None = None
    precision: str | None = None


class Version(_Part):
    """One export."""

    source: str | None = None
    demo: bool = False


class Manifest(_Part):
    """The part of ``manifest.json`` that serving needs; versions are Triton's, as strings."""

    model: ModelShape = ModelShape()
    versions: dict[str, Version] = {}

    @property
    def newest(self) -> Version:
        """The version that Triton serves by default."""
        return self.versions[max(self.versions, key=int)] if self.versions else Version()


def read_repository(directory: Path) -> Manifest:
    """Check that ``directory`` is a model repository and return its manifest.

    A repository without a manifest is served too: Triton needs none.

    Raises:
        RepositoryError: There is no such directory, it holds no ``bge_m3``, or its manifest is
            damaged.
    """
    if not directory.is_dir():
        raise RepositoryError(f"{directory} is not a directory; {_HOW_TO_EXPORT}")
    if not (directory / ENSEMBLE.name / "config.pbtxt").is_file():
        raise RepositoryError(
            f"{directory} is not a model repository: it has no {ENSEMBLE.name}/config.pbtxt; "
            f"{_HOW_TO_EXPORT}"
        )
    try:
        text = (directory / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Manifest()
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RepositoryError(
            f"{directory / MANIFEST} is damaged ({place}: {first['msg']}); {_HOW_TO_EXPORT}"
        ) from error


_HOW_TO_EXPORT: Final = "make one with 'bgem3 export MODEL --output DIR'"
