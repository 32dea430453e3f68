"""A folder of shards: who may write to it, and what is whole in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from pydantic import ValidationError

from bgem3_retrieval.bulk.corpus.manifest import MANIFEST_NAME, Manifest, Shard, differences
from bgem3_retrieval.bulk.corpus.shard_file import PARTIAL_SUFFIX, sync_folder
from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.errors import CorpusMismatchError, OutputError

REJECTED_NAME: Final = "_rejected.jsonl"
_SHOWN_DIFFERENCES: Final = 10


def shard_name(number: int) -> str:
    """Return the name of a shard; the first one is number 0."""
    return f"part-{number:05}.parquet"


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a folder says about itself; None where it says nothing.

    Raises:
        OutputError: Its manifest cannot be read, or is not one.
    """
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise OutputError(
            f"{path} is not a manifest that this version can read ({where or 'it'}: "
            f"{first['msg']}): encode into another folder"
        ) from error


class CorpusFolder:
    """The folder, as the one process has it that writes to it.

    What is not in the manifest is not whole: it is written again. Use it as a context manager.

    Attributes:
        path: Where it is.
        manifest: What is whole in it, once `begin` was called.
    """

    manifest: Manifest

    def __init__(self, path: Path) -> None:
        """Make the folder, where there is none, and keep others from writing to it.

        Raises:
            OutputError: It cannot be made, or another process writes to it.
        """
        self.path = path
        self._rejected: BinaryIO | None = None
        with writing(str(path)):
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = _locked(path)

    def begin(self, wanted: Manifest) -> None:
        """Begin the work, or find where it is to go on: at the end of ``manifest``.

        Args:
            wanted: Model, options and inputs.

        Raises:
            CorpusMismatchError: It was begun with others, or holds something else.
            OutputError: A shard of it is missing, or has another size; it cannot be written.
        """
        found = read_manifest(self.path)
        if found is None:
            self._check_empty()
            self._save(wanted)
            return
        if changes := differences(found, wanted):
            raise CorpusMismatchError(_mismatch(self.path, changes))
        self._check_shards(found.shards)
        for path in self.path.glob(f".*{PARTIAL_SUFFIX}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        rejected = self.path / REJECTED_NAME
        if rejected.exists():
            with writing(str(rejected)):
                os.truncate(rejected, found.rejected_bytes)
        self.manifest = found

    def reject(self, line: bytes) -> None:
        """Add a line to the file of rejected lines.

        Raises:
            OutputError: It cannot be written.
        """
        with writing(str(self.path / REJECTED_NAME)):
            if self._rejected is None:
                self._rejected = (self.path / REJECTED_NAME).open("ab")
            self._rejected.write(line)

    def sync_rejected(self) -> int:
        """Make the rejected lines last; return the size of their file in bytes.

        Raises:
            OutputError: They cannot be written.
        """
        if self._rejected is None:
            return self.manifest.rejected_bytes
        with writing(str(self.path / REJECTED_NAME)):
            self._rejected.flush()
            os.fsync(self._rejected.fileno())
            return self._rejected.tell()

    def add(self, shard: Shard) -> None:
        """Say that a shard is whole.

        Raises:
            OutputError: The manifest cannot be written.
        """
        shards = (*self.manifest.shards, shard)
        self._save(self.manifest.model_copy(update={"shards": shards}))

    def complete(self) -> None:
        """Say that no shard is to come.

        Raises:
            OutputError: The manifest cannot be written.
        """
        self._save(self.manifest.model_copy(update={"complete": True}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._rejected is not None:
                with writing(str(self.path / REJECTED_NAME)):
                    self._rejected.close()
        finally:
            os.close(self._descriptor)

    def _save(self, manifest: Manifest) -> None:
        path = self.path / MANIFEST_NAME
        partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
        with writing(str(path)):
            try:
                with partial.open("wb") as stream:
                    stream.write(manifest.model_dump_json(indent=1).encode() + b"\n")
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(self.path)
        self.manifest = manifest

    def _check_empty(self) -> None:
        strange = sorted(path.name for path in self.path.iterdir() if path.name[0] != ".")
        if strange:
            raise CorpusMismatchError(
                f"{self.path} holds {strange[0]!r} and no {MANIFEST_NAME}: shards go into a folder "
                "of their own, new or empty"
            )

    def _check_shards(self, shards: Sequence[Shard]) -> None:
        for shard in shards:
            path = self.path / shard.file
            try:
                size_bytes = path.stat().st_size
            except OSError as error:
                raise OutputError(
                    f"{path} is in the manifest, and cannot be read: {error.strerror}. Put it "
                    "back, or encode into another folder"
                ) from error
            if size_bytes != shard.size_bytes:
                raise OutputError(
                    f"{path} was written with {shard.size_bytes:,} bytes, and has "
                    f"{size_bytes:,}. Put it back, or encode into another folder"
                )


def _mismatch(folder: Path, changes: Sequence[str]) -> str:
    shown = [f"\n  {change}" for change in changes[:_SHOWN_DIFFERENCES]]
    if len(changes) > len(shown):
        shown.append(f"\n  and {len(changes) - len(shown)} more")
    return (
        f"{folder} was begun otherwise, and shards of both do not go together:{''.join(shown)}\n"
        "Go on as it was begun, or encode into another folder"
    )


def _locked(folder: Path) -> int:
    """Return an open descriptor of the folder, locked until it is closed or the process ends."""
    try:
        import fcntl
    except ImportError as error:
        raise OutputError("shards are written on Linux and macOS only") from error
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise OutputError(f"another process is writing to {folder}") from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
