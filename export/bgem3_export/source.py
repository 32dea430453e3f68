"""Where a checkpoint comes from: a local folder, a hub, or the demo model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bgem3_export.checkpoint import (
    COLBERT_HEAD_FILE,
    CONFIG_FILE,
    PYTORCH_FILE,
    SAFETENSORS_FILE,
    SPARSE_HEAD_FILE,
    TOKENIZER_FILE,
)
from bgem3_export.errors import DiskSpaceError, HubError, SourceError
from bgem3_export.file_hash import file_sha256
from bgem3_export.publishing import DISK_FULL

DEMO: Final = "demo"
"""The name that stands for the demo model."""

# What an export reads; a hub repository may hold gigabytes beside it.
_FILES: Final = (
    CONFIG_FILE,
    TOKENIZER_FILE,
    SPARSE_HEAD_FILE,
    COLBERT_HEAD_FILE,
    SAFETENSORS_FILE,
    PYTORCH_FILE,
)
_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A checkpoint on this machine.

    Attributes:
        name: What the user called it: hub name, folder name, or "demo".
        revision: The hub's commit, or a hash over the files of a folder.
        directory: Where the files are.
        is_demo: Whether it is the demo model, which must always be said aloud.
    """

    name: str
    revision: str
    directory: Path
    is_demo: bool = False


def find_source(model: str, progress: Callable[[str], None] = lambda message: None) -> Source:
    """Find the checkpoint that ``model`` names, fetching it where needed.

    Args:
        model: A folder, a hub name such as ``BAAI/bge-m3``, or ``demo``.
        progress: Called with a few words before each step.

    Raises:
        SourceError: No such folder, and not a hub name either.
        HubError: The hub cannot be reached or refuses.
        DiskSpaceError: There is no room for the hub's files.
        ExportError: The demo model cannot be built.
    """
    from bgem3_export.demo_model import demo_model, is_demo_model

    if model == DEMO:
        directory = demo_model(progress=progress)
        return Source(DEMO, _content_hash(directory), directory, is_demo=True)
    directory = Path(model).expanduser()
    if directory.is_dir():
        progress("reading the checkpoint's files")
        return Source(
            directory.resolve().name,
            _content_hash(directory),
            directory,
            is_demo=is_demo_model(directory),
        )
    if directory.exists():
        raise SourceError(f"{model} is a file; give the folder that holds the checkpoint's files")
    if _HUB_NAME.fullmatch(model) is None:
        raise SourceError(
            f"there is no folder {model}, and it is no hub name (OWNER/NAME) either; give a "
            f"folder, a hub name such as BAAI/bge-m3, or '{DEMO}'"
        )
    return _from_hub(model, progress)


def _from_hub(name: str, progress: Callable[[str], None]) -> Source:
    # Imported here: it reads HF_ENDPOINT and HF_HUB_OFFLINE from the environment on import.
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    progress(f"fetching {name}")
    try:
        # The newest commit, data alone; the repository records which it was.
        directory = Path(snapshot_download(name, allow_patterns=list(_FILES)))  # nosec B615
    except HFValidationError as error:
        raise SourceError(
            f"there is no folder {name}, and it is no hub name either: {_first_line(error)}"
        ) from error
    # What the library says of the hub is an OSError; what breaks on the way to it, an HTTPError.
    except (OSError, httpx.HTTPError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise DiskSpaceError(
                f"the disk filled up while {name} was fetched; make room, or set HF_HOME to a "
                "folder on another disk"
            ) from error
        folder = name.split("/")[1]
        raise HubError(
            f"{name} cannot be fetched from the hub: {_first_line(error)}\n"
            "On a machine that reaches the hub, or a mirror of it (HF_ENDPOINT=https://...):\n"
            f"    hf download {name} {' '.join(_FILES)} --local-dir {folder}\n"
            "(a file of that list which the model does not have can be left out).\n"
            f"Copy the folder {folder} to this machine, and export it from there:\n"
            f"    bgem3 export ./{folder} --output DIR"
        ) from error
    return Source(name, directory.name, directory)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _content_hash(directory: Path) -> str:
    digest = hashlib.sha256()
    for name in _FILES:
        path = directory / name
        if path.is_file():
            digest.update(name.encode())
            digest.update(file_sha256(path).encode())
    return digest.hexdigest()
