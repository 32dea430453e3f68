"""What people would use instead, each in the environment that `bgem3 bench` installs for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from bgem3_bench.errors import FailureKind, WorkerError
from bgem3_bench.peers.catalogue import PEERS, Peer
from bgem3_bench.peers.commands import worker_command
from bgem3_bench.peers.environments import Unavailable
from bgem3_bench.worker_process import WorkerProcess
from bgem3_client.colbert import ColbertEmbeddings
from bgem3_client.embeddings import Parts
from bgem3_client.encode_request import Output
from bgem3_client.errors import InvalidInputError
from bgem3_client.ragged import offsets_of
from bgem3_client.sparse import SparseEmbeddings
from bgem3_retrieval.evaluation.encoder import Encoded

PEER_NAMES: Final = tuple(PEERS)
_LOAD_SECONDS: Final = 600.0
_VECTORS_FILE: Final = "vectors.npz"


class PeerEncoder:
    """A peer's worker as an encoder, with its own defaults."""

    def __init__(
        self, peer: Peer, worker: WorkerProcess, folder: Path, timeout_seconds: float
    ) -> None:
        """Make one of a worker that has loaded its model.

        Args:
            peer: What it runs.
            worker: It stays the caller's to close.
            folder: Where results are handed over.
            timeout_seconds: Time allowed for one call.
        """
        self.outputs: frozenset[Output] = frozenset(cast(tuple[Output, ...], peer.outputs))
        self._worker = worker
        self._file = folder / _VECTORS_FILE
        self._timeout_seconds = timeout_seconds

    def encode(self, texts: list[str], outputs: frozenset[Output]) -> Encoded:
        """Let the worker encode the texts; see :class:`Encoder`.

        Raises:
            WorkerError: It failed.
        """
        answer = self._worker.ask(
            "encode",
            self._timeout_seconds,
            texts=texts,
            outputs=sorted(outputs),
            batch_size=None,
            save=str(self._file),
        )
        with np.load(self._file) as arrays:
            parts = _parts(arrays, outputs)
        return Encoded(parts, answer["seconds"], answer["tokens"], None)

    def peak_bytes(self) -> int:
        """Return the most memory that the peer held, its loading included.

        Raises:
            WorkerError: It does not say.
        """
        return int(self._worker.ask("memory", self._timeout_seconds)["peak_bytes"])


@contextmanager
def running_peer(
    name: str,
    checkpoint: Path,
    folder: Path,
    *,
    max_length: int,
    timeout_seconds: float,
    on_progress: Callable[[str], None],
) -> Iterator[PeerEncoder]:
    """Run a peer while the block runs.

    Args:
        name: One of :data:`PEER_NAMES`.
        checkpoint: The model, in BGE-M3's layout.
        folder: For its log and its results.
        max_length: Tokens that longer texts are cut to.
        timeout_seconds: Time allowed for one call.
        on_progress: Called with a few words before each step.

    Raises:
        InvalidInputError: There is no such peer.
        WorkerError: It is not installed, cannot be had, or failed.
    """
    if name not in PEERS:
        raise InvalidInputError(
            f"there is no peer called {name!r}: choose some of {', '.join(PEER_NAMES)}"
        )
    command = worker_command(name, checkpoint, on_progress)
    if isinstance(command, Unavailable):
        kind: FailureKind = "not_installed" if command.is_installable else "unavailable"
        raise WorkerError(kind, str(command))
    on_progress(f"{name}: starting")
    worker = WorkerProcess(command, folder / f"{name}.log")
    try:
        worker.ask(
            "load",
            _LOAD_SECONDS,
            checkpoint=str(checkpoint),
            threads=len(os.sched_getaffinity(0)),
            max_length=max_length,
            options=dict(command.options),
        )
        yield PeerEncoder(PEERS[name], worker, folder, timeout_seconds)
    finally:
        worker.close()


def _parts(arrays: Any, outputs: frozenset[Output]) -> Parts:  # noqa: ANN401 - NumPy's NpzFile
    return Parts(
        arrays["dense"].astype(np.float32, copy=False) if "dense" in outputs else None,
        SparseEmbeddings(
            arrays["sparse_indices"].astype(np.int32),
            arrays["sparse_values"].astype(np.float32, copy=False),
            offsets_of(arrays["sparse_lengths"]),
        )
        if "sparse" in outputs
        else None,
        ColbertEmbeddings(arrays["colbert"], offsets_of(arrays["colbert_lengths"]))
        if "colbert" in outputs
        else None,
    )
