"""How a peer's worker is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bgem3_bench.peers.catalogue import PEERS
from bgem3_bench.peers.environments import Unavailable, environment, peers_folder
from bgem3_bench.peers.prepared_files import OFFLINE, WORKERS_FOLDER, prepared_files
from bgem3_bench.worker_process import WorkerCommand

# Another Python's packages must not be found by this one's.
_ISOLATED: Final = {"PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}


def worker_command(
    name: str, checkpoint: Path, on_progress: Callable[[str], None]
) -> WorkerCommand | Unavailable:
    """Return how a peer's worker is started for a checkpoint, or why it cannot be.

    Files that the peer needs beside the checkpoint are made here on the first call (Optimum's
    export: the checkpoint's size on disk, and some minutes).

    Args:
        name: A key of :data:`PEERS`.
        checkpoint: Folder in BGE-M3's layout, which the worker is then told to load.
        on_progress: Called with a few words before each step.
    """
    peer = PEERS[name]
    found = environment(name)
    if isinstance(found, Unavailable):
        return found
    options = dict(peer.options)
    if peer.preparation is not None:
        files = prepared_files(peer.preparation, checkpoint, on_progress)
        if isinstance(files, Unavailable):
            return files
        options["files"] = str(files)
    # vLLM keeps what it compiles; its second start is then a fraction of the first.
    variables = {**OFFLINE, **_ISOLATED, "VLLM_CACHE_ROOT": str(peers_folder() / "vllm-cache")}
    return WorkerCommand(
        name, (str(found.python), str(WORKERS_FOLDER / peer.worker)), options, variables
    )
