"""What runs on the nodes of the cluster: a worker encodes and writes one shard after the other."""

from __future__ import annotations

import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from bgem3_client.encode_request import ColbertDtype, EncodeOptions
from bgem3_client.limits import Limits
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.corpus.endpoint_pool import PoolSettings
from bgem3_retrieval.bulk.corpus.job import windows_ahead
from bgem3_retrieval.bulk.corpus.shard_builder import ShardBuilder, ShardCounts
from bgem3_retrieval.bulk.corpus.window_encoder import WindowAnswers, WindowEncoder
from bgem3_retrieval.bulk.corpus.windows import Window, window_limits
from bgem3_retrieval.bulk.ray.library import ray_library
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.errors import OutputError


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker does, the same for all of them.

    Attributes:
        folder: Where they write; every node has it.
        urls: The servers, of which each worker uses all.
        options: How the texts are encoded.
        limits: What fits in a request; how many one worker has on their way to each server.
        dense_dtype: Of dense vectors in the shards.
        timeout_seconds: Time allowed for one request.
        ready_seconds: So long the servers may take to answer the first time.
        connect: Makes an endpoint of an address.
    """

    folder: Path
    urls: tuple[str, ...]
    options: EncodeOptions
    limits: Limits
    dense_dtype: ColbertDtype
    timeout_seconds: float
    ready_seconds: float
    connect: Callable[[str, Limits], Endpoint]


@dataclass(frozen=True)
class EncodedShard:
    """A shard that is written, and has no name of its own yet.

    Attributes:
        path: Where it is.
        counts: What came of its lines.
        rejections: The lines that became no row, in their order.
        size_bytes: Of the file.
        sha256: Of the file.
        node: Where it was written.
        messages: What there was to say about the servers since the shard before.
    """

    path: Path
    counts: ShardCounts
    rejections: list[Rejection]
    size_bytes: int
    sha256: str
    node: str
    messages: list[str]


class ShardWorker:
    """The actor. Its calls come from several threads: one shard begins while another ends."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._encoder: WindowEncoder | None = None
        self._messages: deque[str] = deque()
        self._node = socket.gethostname()
        self._lock = threading.Lock()

    def open(self) -> ServedModel:
        """Connect to the servers; return what they serve.

        Raises:
            UnavailableError: None of them answered.
            ModelChangedError: They serve unlike models or versions.
            ServerError: One of them answers, and not as a server of this project would.
        """
        return self._opened().model

    def encode(self, name: str, windows: Sequence[Any]) -> EncodedShard:
        """Write a shard.

        Args:
            name: What it is going to be called.
            windows: References to its windows in the object store, in order; a few at a time are
                in the memory of this process.

        Raises:
            ServerError: The servers failed at a request several times, or all of them are gone.
            OutputError: The shard cannot be written.
        """
        settings = self._settings
        if not settings.folder.is_dir():
            raise OutputError(
                f"{settings.folder.parent} on {self._node} is not the folder that the command "
                "writes to: with --ray the output must be on storage that all nodes share, under "
                "the same path"
            )
        # Another worker may write the same shard, because this one is taken for dead.
        path = settings.folder / f"{uuid.uuid4().hex}-{name}"
        encoder = self._opened()
        builder = ShardBuilder(path, encoder)
        try:
            rejections = self._fill(builder, encoder, windows)
            size_bytes, sha256 = builder.finish()
        except BaseException:
            builder.drop()
            raise
        return EncodedShard(
            path, builder.counts, rejections, size_bytes, sha256, self._node, self._said()
        )

    def _fill(
        self, builder: ShardBuilder, encoder: WindowEncoder, windows: Sequence[Any]
    ) -> list[Rejection]:
        ray = ray_library()
        settings = self._settings
        ahead = windows_ahead(len(settings.urls), settings.limits, window_limits(settings.options))
        rejections: list[Rejection] = []
        sent: deque[tuple[Window, Future[WindowAnswers]]] = deque()
        for reference in chain(windows, [None]):
            if reference is not None:
                window: Window = ray.get(reference)
                sent.append((window, encoder.send([record.text for record in window.records])))
            while sent and (reference is None or len(sent) > ahead):
                answered, answers = sent.popleft()
                rejections += builder.add(answered, answers.result())
        return rejections

    def _opened(self) -> WindowEncoder:
        settings = self._settings
        with self._lock:
            if self._encoder is None:
                self._encoder = WindowEncoder(
                    [settings.connect(url, settings.limits) for url in settings.urls],
                    settings.options,
                    limits=settings.limits,
                    dense_dtype=settings.dense_dtype,
                    settings=PoolSettings(settings.limits.max_in_flight, settings.timeout_seconds),
                    ready_seconds=settings.ready_seconds,
                    say=self._messages.append,
                )
            return self._encoder

    def _said(self) -> list[str]:
        return [self._messages.popleft() for _ in range(len(self._messages))]
