"""What runs on the nodes of the cluster: a task encodes and writes one shard."""

from __future__ import annotations

import socket
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bgem3_client.encode_request import ColbertDtype, EncodeOptions
from bgem3_client.errors import BgeM3Error
from bgem3_client.limits import Limits
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.corpus.endpoint_pool import PoolSettings
from bgem3_retrieval.bulk.corpus.job import windows_ahead
from bgem3_retrieval.bulk.corpus.shard_builder import ShardBuilder, ShardCounts
from bgem3_retrieval.bulk.corpus.window_encoder import WindowAnswers, WindowEncoder
from bgem3_retrieval.bulk.corpus.windows import Window, window_limits
from bgem3_retrieval.bulk.ray.encoders import Encoders
from bgem3_retrieval.bulk.ray.rows import Cut, cut_of, result_row
from bgem3_retrieval.bulk.records import Rejection
from bgem3_retrieval.errors import ModelChangedError, OutputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker does, the same for all of them.

    Attributes:
        folder: Where they write; every node has it.
        encoders: What they encode with.
        options: How the texts are encoded.
        limits: What fits in a request; how many one worker has on their way to each server.
        dense_dtype: Of dense vectors in the shards.
        timeout_seconds: Time allowed for one request.
        ready_seconds: So long the servers may take to answer the first time.
    """

    folder: Path
    encoders: Encoders
    options: EncodeOptions
    limits: Limits
    dense_dtype: ColbertDtype
    timeout_seconds: float
    ready_seconds: float


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


def encode_row(row: pa.Table, settings: WorkerSettings, model: ServedModel) -> pa.Table:
    """Write the shard of a row, and return a row that says what came of it.

    Ray runs one task after the other in a process, so servers are connected to, and a model is
    loaded, once. An error that a person is to read travels in the row: Ray would print where it
    came from, and wrap it.

    Args:
        row: See :mod:`bgem3_retrieval.bulk.ray.rows`; one.
        settings: See there.
        model: What the others encode with.
    """
    cut = cut_of(row)
    if isinstance(cut, BgeM3Error):
        return result_row(cut, cut)
    try:
        worker = _WORKERS.get(settings.folder)
        if worker is None:
            worker = _WORKERS[settings.folder] = ShardWorker(settings, model)
        return result_row(cut, worker.encode(cut))
    except BgeM3Error as error:
        return result_row(cut, error)


def model_of(settings: WorkerSettings) -> ServedModel | BgeM3Error:
    """Return what the servers serve, as seen from a node, or why they do not."""
    try:
        with _encoder(settings, settings.encoders.endpoints(settings.limits), print) as encoder:
            return encoder.model
    except BgeM3Error as error:
        return error


class ShardWorker:
    """Writes shards, one after the other, in one process."""

    def __init__(self, settings: WorkerSettings, model: ServedModel) -> None:
        """Connect to the servers, or load the model.

        Args:
            settings: See there.
            model: What the others encode with.

        Raises:
            UnavailableError: None of the servers answered.
            ModelChangedError: They serve unlike models or versions, or another than the others
                found.
            ServerError: One of them answers, and not as a server of this project would.
            ClusterError: The model cannot be loaded here.
        """
        self._settings = settings
        self._node = socket.gethostname()
        self._messages: deque[str] = deque()
        endpoints = settings.encoders.endpoints(settings.limits)
        self._windows_ahead = windows_ahead(
            len(endpoints), settings.limits, window_limits(settings.options)
        )
        self._encoder = _encoder(settings, endpoints, self._messages.append)
        if self._encoder.model != model:
            self._encoder.close()
            raise ModelChangedError(
                f"{self._node} finds {self._encoder.model}, and the others {model}"
            )

    def encode(self, cut: Cut) -> EncodedShard:
        """Write a shard.

        Args:
            cut: Its windows; a few at a time are in the memory of this process.

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
        # Another task may write the same shard, because this one is taken for dead.
        path = settings.folder / f"{uuid.uuid4().hex}-{cut.name}"
        builder = ShardBuilder(path, self._encoder)
        try:
            rejections = self._fill(builder, cut.windows())
            size_bytes, sha256 = builder.finish()
        except BaseException:
            builder.drop()
            raise
        messages = [self._messages.popleft() for _ in range(len(self._messages))]
        return EncodedShard(
            path, builder.counts, rejections, size_bytes, sha256, self._node, messages
        )

    def _fill(self, builder: ShardBuilder, windows: Iterable[Window]) -> list[Rejection]:
        rejections: list[Rejection] = []
        sent: deque[tuple[Window, Future[WindowAnswers]]] = deque()
        for window in chain(windows, [None]):
            if window is not None:
                texts = [record.text for record in window.records]
                sent.append((window, self._encoder.send(texts)))
            while sent and (window is None or len(sent) > self._windows_ahead):
                answered, answers = sent.popleft()
                rejections += builder.add(answered, answers.result())
        return rejections


# Of this process: Ray gives it to one run alone, and a run has one folder to write to.
_WORKERS: dict[Path, ShardWorker] = {}


def _encoder(
    settings: WorkerSettings, endpoints: Sequence[Endpoint], say: Callable[[str], None]
) -> WindowEncoder:
    return WindowEncoder(
        endpoints,
        settings.options,
        limits=settings.limits,
        dense_dtype=settings.dense_dtype,
        settings=PoolSettings(settings.limits.max_in_flight, settings.timeout_seconds),
        ready_seconds=settings.ready_seconds,
        say=say,
    )
