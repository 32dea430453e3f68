"""What a folder of shards says about itself: ``_manifest.json``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from bgem3_client.encode_request import ColbertDtype, Output
from bgem3_retrieval.bulk.records import START, Position
from bgem3_retrieval.errors import InputFileError

MANIFEST_NAME: Final = "_manifest.json"


class _Part(BaseModel):
    """A part of the manifest; what it does not know it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusModel(_Part):
    """Whose vectors they are."""

    name: str
    version: str
    hidden_size: int
    colbert_size: int


class CorpusOptions(_Part):
    """All that decides what is in the shards, beside the inputs and the model.

    ``batch_texts`` and ``batch_tokens`` too: what is in one request is computed together, and a
    trunk in BF16 rounds by what it computes together.
    """

    outputs: tuple[Output, ...]
    max_length: int
    truncate: bool
    tokens: bool
    dense_dtype: ColbertDtype
    colbert_dtype: ColbertDtype
    input_format: str
    text_field: str
    id_field: str
    shard_texts: int
    batch_texts: int
    batch_tokens: int


class CorpusInput(_Part):
    """A file that was read, and how to see that it is still the same.

    ``sha256`` is there where it was asked for, and then the time of the last change says nothing.
    """

    name: str
    size_bytes: int
    modified_nanoseconds: int
    sha256: str | None = None

    @classmethod
    def of(cls, name: str, *, with_sha256: bool) -> CorpusInput:
        """Look at a file.

        Raises:
            InputFileError: It cannot be read.
        """
        try:
            status = os.stat(name)
            digest = sha256_of(Path(name)) if with_sha256 else None
        except OSError as error:
            raise InputFileError(f"{name}: cannot be read: {error.strerror}") from error
        return cls(
            name=name,
            size_bytes=status.st_size,
            modified_nanoseconds=status.st_mtime_ns,
            sha256=digest,
        )

    def change_to(self, now: CorpusInput) -> str | None:
        """Say how the same file differs now; None where it does not."""
        if self.size_bytes != now.size_bytes:
            return f"{self.name} had {self.size_bytes:,} bytes, and now has {now.size_bytes:,}"
        if self.sha256 is not None and now.sha256 is not None:
            return None if self.sha256 == now.sha256 else f"{self.name} has other contents now"
        if self.modified_nanoseconds == now.modified_nanoseconds:
            return None
        then, since = (
            datetime.fromtimestamp(entry.modified_nanoseconds / 1e9, UTC).isoformat(" ", "seconds")
            for entry in (self, now)
        )
        return f"{self.name} was changed at {since}; it was read as of {then}"


class Shard(_Part):
    """A whole file of the output.

    Attributes:
        file: Its name in the folder.
        first_line: Number of its first line among all lines of all inputs; the first is 0.
        lines: How many it comes from.
        rows: How many became rows.
        rejected: How many did not.
        tokens: Of all rows, special tokens included.
        truncated: Rows whose texts were cut.
        size_bytes: Of the file.
        sha256: Of the file.
        end_input: So many inputs were read wholly when it was done.
        end_number: And so many lines of the next.
        end_bytes: Bytes of all inputs up to there.
        rejected_bytes: Size of the file of rejected lines when it was done.
    """

    file: str
    first_line: int
    lines: int
    rows: int
    rejected: int
    tokens: int
    truncated: int
    size_bytes: int
    sha256: str
    end_input: int
    end_number: int
    end_bytes: int
    rejected_bytes: int

    @property
    def end(self) -> Position:
        """Where the inputs go on after it."""
        return Position(self.end_input, self.end_number)


class Manifest(_Part):
    """The whole of it; ``complete`` once the inputs are read to their end."""

    format: Literal[1] = 1
    model: CorpusModel
    options: CorpusOptions
    inputs: tuple[CorpusInput, ...]
    shards: tuple[Shard, ...] = ()
    complete: bool = False

    @property
    def end(self) -> Position:
        """Where the inputs go on."""
        return self.shards[-1].end if self.shards else START

    @property
    def end_bytes(self) -> int:
        """Bytes of all inputs up to there."""
        return self.shards[-1].end_bytes if self.shards else 0

    @property
    def rejected_bytes(self) -> int:
        """Size of the file of rejected lines."""
        return self.shards[-1].rejected_bytes if self.shards else 0

    @property
    def lines(self) -> int:
        """Lines of the inputs that the shards come from."""
        return sum(shard.lines for shard in self.shards)

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def rejected(self) -> int:
        """Lines that became no rows."""
        return sum(shard.rejected for shard in self.shards)


def differences(before: Manifest, now: Manifest) -> list[str]:
    """Say what is not the same about model, options and inputs; nothing where all is."""
    found = [*_fields("model", before.model, now.model), *_fields("", before.options, now.options)]
    names = [entry.name for entry in before.inputs]
    names_now = [entry.name for entry in now.inputs]
    if names != names_now:
        found += [f"{name} is no input any more" for name in names if name not in names_now]
        found += [f"{name} was no input before" for name in names_now if name not in names]
        if sorted(names) == sorted(names_now):
            found.append("the inputs come in another order")
    else:
        changes = (a.change_to(b) for a, b in zip(before.inputs, now.inputs, strict=True))
        found += [change for change in changes if change]
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fields(what: str, before: BaseModel, now: BaseModel) -> Iterator[str]:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            yield f"{f'{what} {name}'.strip()} was {_shown(old)}, and now is {_shown(new)}"


def _shown(value: Any) -> str:  # noqa: ANN401 - of any field
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return repr(value) if isinstance(value, str) else str(value)
