"""``serving.json``: which versions a repository holds beside its export, and which one serves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from uuid import uuid4

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from bgem3_export.errors import RepositoryError
from bgem3_export.manifest import Manifest, ModelShape

RECORD_FILE: Final = "serving.json"
FORMAT_VERSION: Final = 1

Number = Annotated[str, StringConstraints(pattern="^[1-9][0-9]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionRecord(_Part):
    """One version: what it was made from, and when it came here."""

    source: str
    revision: str
    demo: bool
    shape: ModelShape
    added: str = Field(description="UTC, ISO 8601")
    files: dict[str, str] = Field(
        {}, description="SHA-256 by name in the repository; empty where an earlier release added it"
    )


class ServingRecord(_Part):
    """What is served, as ``bgem3 serve`` starts it again.

    Attributes:
        base: The version of the export that the repository began with: its models have the names
            of the contract.
        serving: The version that ``bge_m3`` is.
        loaded: The versions that are in memory, ``serving`` included.
        earlier: What served before, the last one last.
        versions: All that are in the repository.
    """

    format_version: Literal[1] = FORMAT_VERSION
    base: Number
    serving: Number
    loaded: tuple[Number, ...]
    earlier: tuple[Number, ...] = ()
    versions: dict[Number, VersionRecord]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        known = self.versions.keys()
        for name in {self.base, self.serving, *self.loaded, *self.earlier} - known:
            raise ValueError(f"version {name} is not among the versions")
        if self.serving not in self.loaded:
            raise ValueError(f"version {self.serving} serves and is not loaded")
        return self

    @classmethod
    def of_export(cls, manifest: Manifest) -> ServingRecord:
        """Return the record of a repository that holds nothing but its export."""
        number = manifest.newest
        version = VersionRecord(
            source=manifest.versions[number].source,
            revision=manifest.versions[number].revision,
            demo=manifest.versions[number].demo,
            shape=manifest.model,
            added=manifest.versions[number].created,
            files=manifest.versions[number].files,
        )
        return cls(base=number, serving=number, loaded=(number,), versions={number: version})

    @classmethod
    def read(cls, repository: Path) -> ServingRecord | None:
        """Read the record of a repository; None where no version was ever added to its export.

        Raises:
            RepositoryError: It is damaged, or another release wrote it.
        """
        path = repository / RECORD_FILE
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            return cls.model_validate(content)
        except FileNotFoundError:
            return None
        except (UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
            raise RepositoryError(
                f"{path} is damaged, or of another release: {error}; without the file the export "
                "that the repository began with is served"
            ) from error

    def write(self, repository: Path) -> None:
        """Write the record into a repository, in one step.

        Raises:
            RepositoryError: The repository cannot be written to.
        """
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        replace_file(repository / RECORD_FILE, text + "\n")

    @property
    def next_number(self) -> str:
        """The number of the version that comes next."""
        return str(max(map(int, self.versions)) + 1)

    def with_serving(self, number: str) -> ServingRecord:
        """Return the record after a switch: back to where a version served before, or forth."""
        if number == self.serving:
            return self
        if number in self.earlier:
            earlier = self.earlier[: self.earlier.index(number)]
        else:
            earlier = (*self.earlier, self.serving)
        return self.model_copy(
            update={
                "serving": number,
                "earlier": earlier,
                "loaded": _sorted({*self.loaded, number}),
            }
        )

    def with_loaded(self, number: str) -> ServingRecord:
        """Return the record with a version in memory."""
        return self.model_copy(update={"loaded": _sorted({*self.loaded, number})})

    def without_loaded(self, number: str) -> ServingRecord:
        """Return the record with a version no longer in memory."""
        return self.model_copy(update={"loaded": _sorted(set(self.loaded) - {number})})

    def with_version(self, number: str, version: VersionRecord) -> ServingRecord:
        """Return the record with one version more."""
        return self.model_copy(update={"versions": {**self.versions, number: version}})

    def without_version(self, number: str) -> ServingRecord:
        """Return the record without a version that is not loaded."""
        versions = {name: version for name, version in self.versions.items() if name != number}
        earlier = tuple(name for name in self.earlier if name != number)
        return self.model_copy(update={"versions": versions, "earlier": earlier})


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step: a reader finds the old content or the new, never a part.

    Raises:
        RepositoryError: It cannot be written.
    """
    copy = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with copy.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        copy.replace(path)
    except OSError as error:
        raise RepositoryError(f"{path} cannot be written to: {error.strerror}") from error
    finally:
        copy.unlink(missing_ok=True)


def _sorted(numbers: set[str]) -> tuple[str, ...]:
    return tuple(sorted(numbers, key=int))
