"""Whose vectors are judged: a running server's, and those of peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bgem3_client.client import Client
from bgem3_retrieval.connections import wait_until_ready
from bgem3_retrieval.evaluation.encoder import ServedEncoder
from bgem3_retrieval.evaluation.evaluation import Contender
from bgem3_retrieval.evaluation.results import OURS
from bgem3_retrieval.evaluation.server_memory import ServerMemory

_DEMO_DIMENSIONS: Final = 384


class Server:
    """A running server of this project.

    Attributes:
        model: What it serves, in words.
    """

    def __init__(
        self, client: Client, url: str, *, max_length: int, timeout_seconds: float
    ) -> None:
        """Wait for it, and ask what it serves.

        Args:
            client: Of the server; it stays the caller's to close.
            url: Its address.
            max_length: Tokens that texts are cut to.
            timeout_seconds: Time allowed for a block of texts.

        Raises:
            ServerError: No server of this project answers there.
        """
        wait_until_ready(client)
        info = client.model_info()
        self.model = (
            f"{info.name}, version {', '.join(info.versions)}, dense {info.hidden_size} and "
            f"ColBERT {info.colbert_size} dimensions"
        )
        if info.hidden_size == _DEMO_DIMENSIONS:
            self.model = f"demo model, not BGE-M3 ({self.model})"
        self._encoder = ServedEncoder(client, max_length, timeout_seconds)
        self._memory = ServerMemory.find(url)

    @contextmanager
    def contender(self) -> Iterator[Contender]:
        """The server as a contender, its peak of memory begun anew."""
        if self._memory is not None:
            self._memory.reset()
        yield Contender(OURS, self._encoder, self._peak_bytes)

    def _peak_bytes(self) -> int | None:
        return None if self._memory is None else self._memory.peak_bytes()


@contextmanager
def peer_contender(
    name: str,
    checkpoint: str,
    *,
    max_length: int,
    timeout_seconds: float,
    on_progress: Callable[[str], None],
) -> Iterator[Contender]:
    """A peer as a contender, which runs while the block does.

    Args:
        name: The peer's.
        checkpoint: The model, as `bgem3 export` names it.
        max_length: Tokens that texts are cut to.
        timeout_seconds: Time allowed for a block of texts.
        on_progress: Called with a few words before each step.

    Raises:
        InvalidInputError: There is no such peer.
        WorkerError: It is not installed, cannot be had, or failed.
    """
    # Peers need what the benchmark and the export need, and our own server does not.
    from bgem3_export.source import find_source
    from bgem3_retrieval.evaluation.peers import running_peer

    directory = find_source(checkpoint).directory
    with (
        TemporaryDirectory(prefix="bgem3-eval-") as folder,
        running_peer(
            name,
            directory,
            Path(folder),
            max_length=max_length,
            timeout_seconds=timeout_seconds,
            on_progress=on_progress,
        ) as encoder,
    ):
        yield Contender(name, encoder, encoder.peak_bytes)
