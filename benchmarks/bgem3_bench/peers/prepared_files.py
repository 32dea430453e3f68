"""Files that peers make of a checkpoint before they can load it: exports, and what is cut of them.

They are made once for a checkpoint, by a program in the peer's own environment, and kept beside the
environments.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from filelock import FileLock

import bgem3_bench.workers
from bgem3_bench.peers.catalogue import Preparation
from bgem3_bench.peers.environments import Unavailable, installed, peers_folder
from bgem3_bench.peers.steps import StepError, run_step

WORKERS_FOLDER: Final = Path(bgem3_bench.workers.__file__).parent
OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Everything comes from the checkpoint's folder: no peer may ask a hub."""

_SECONDS: Final = 1800
# The weights, in whichever of the forms the checkpoint has, and what decides the graph.
_CONTENT_FILES: Final = ("config.json", "model.safetensors", "pytorch_model.bin")


def prepared_files(
    preparation: Preparation, checkpoint: Path, on_progress: Callable[[str], None]
) -> Path | Unavailable:
    """Return the folder of a preparation, made on the first call for a checkpoint.

    Safe to call from several processes at once: one makes it, the others wait.

    Args:
        preparation: Of a peer in the catalogue; its environment is to be installed.
        checkpoint: Folder in BGE-M3's layout.
        on_progress: Called with a few words before each step.
    """
    # A release of the peer that writes other files has another environment, and so another folder.
    environment = installed(preparation.requirements)
    if isinstance(environment, Unavailable):
        return Unavailable(
            f"needs files that {preparation.requirements.name} makes, and that is {environment}",
            is_installable=environment.is_installable,
        )
    arguments = [checkpoint]
    if preparation.source is not None:
        source = prepared_files(preparation.source, checkpoint, on_progress)
        if isinstance(source, Unavailable):
            return source
        arguments.append(source)
    script = WORKERS_FOLDER / preparation.script
    key = hashlib.sha256(
        json.dumps([checkpoint_digest(checkpoint), environment.folder.name]).encode()
        + script.read_bytes()
    ).hexdigest()
    folder = peers_folder() / "files" / f"{preparation.name}-{key[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return folder
        on_progress(f"{preparation.name}: preparing the files of {checkpoint.name}")
        # Made beside and renamed: a folder that is there is complete.
        building = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        log = folder.with_name(f"{folder.name}.log")
        log.write_bytes(b"")
        checkpoint_folder, *sources = map(str, arguments)
        command = [str(environment.python), str(script), checkpoint_folder, str(building), *sources]
        failure = f"{preparation.script} could not prepare {checkpoint.name}"
        try:
            run_step(command, log, _SECONDS, failure, OFFLINE)
        except StepError as error:
            shutil.rmtree(building, ignore_errors=True)
            return Unavailable(str(error), log)
        building.rename(folder)
    return folder


def checkpoint_digest(checkpoint: Path) -> str:
    """Return a digest of what a checkpoint's trunk is: its configuration and weights."""
    digest = hashlib.sha256()
    for name in _CONTENT_FILES:
        file = checkpoint / name
        if file.is_file():
            digest.update(_file_digest(file, file.stat().st_mtime_ns))
    return digest.hexdigest()


# BGE-M3's weights take seconds to read, and several peers ask for them.
@cache
def _file_digest(file: Path, _changed: int) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
