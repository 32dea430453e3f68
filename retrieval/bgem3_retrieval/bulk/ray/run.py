"""``bgem3 encode --ray`` into a folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Final

import pyarrow as pa

from bgem3_retrieval.bulk.corpus.display import CorpusDisplay
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.corpus.folder import CorpusFolder
from bgem3_retrieval.bulk.corpus.manifest import Manifest
from bgem3_retrieval.bulk.corpus.shard_file import PARTIAL_SUFFIX
from bgem3_retrieval.bulk.corpus.windows import Window
from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.bulk.ray.encoders import Encoders, OwnModel, Servers
from bgem3_retrieval.bulk.ray.job import take_shards
from bgem3_retrieval.bulk.ray.library import ray_library
from bgem3_retrieval.bulk.ray.pipeline import encoded_rows, first_model
from bgem3_retrieval.bulk.ray.repository_export import RepositoryExport
from bgem3_retrieval.bulk.ray.resources import Resources
from bgem3_retrieval.bulk.ray.rows import shard_rows
from bgem3_retrieval.bulk.ray.worker import WorkerSettings
from bgem3_retrieval.bulk.settings import EncodeSettings
from bgem3_retrieval.connections import READY_SECONDS

# A model in a worker computes one request; the next one waits for it.
_MODEL_IN_FLIGHT: Final = 2


def encode_on_cluster(
    settings: EncodeSettings,
    display: CorpusDisplay,
    folder: CorpusFolder,
    wanted: Callable[[ServedModel], Manifest],
    windows: Callable[[Manifest], Iterator[Window]],
) -> None:
    """Do what the settings say with the cluster that this process is connected to.

    Args:
        settings: The command's options.
        display: Shows how far it is.
        folder: Not begun yet.
        wanted: The manifest of a run with a model.
        windows: What is left to encode, from where a manifest ends.

    Raises:
        ClusterError: The workers do not come up, or die one after the other.
        ServerError: As without Ray.
        InvalidInputError: As without Ray.
        OutputError: A file cannot be written.
    """
    resources = _resources(settings)
    limits = settings.limits()
    # All workers together send no more to a server than one process would.
    in_flight = ceil(limits.max_in_flight / resources.workers)
    encoders: Encoders = Servers(settings.url, Endpoint.connect)
    if settings.ray_repository is not None:
        export = RepositoryExport.read(settings.ray_repository)
        encoders = OwnModel(export, resources.cpus, on_gpu=resources.gpus > 0)
        in_flight = _MODEL_IN_FLIGHT
    worker_settings = WorkerSettings(
        folder=_workplace(folder),
        encoders=encoders,
        options=settings.encode_options(),
        limits=replace(limits, max_in_flight=in_flight),
        dense_dtype=settings.dense_dtype,
        timeout_seconds=settings.timeout_seconds,
        ready_seconds=READY_SECONDS,
    )
    if isinstance(encoders, OwnModel):
        model = encoders.export.model
    else:
        model = first_model(worker_settings, resources, display.say)
    folder.begin(wanted(model))
    display.begin(folder.manifest)
    if folder.manifest.complete:
        return
    manifest = folder.manifest
    rows = partial(_rows, windows, manifest)
    with (
        _there(worker_settings.folder),
        closing(encoded_rows(rows, worker_settings, model, resources)) as encoded,
    ):
        take_shards(encoded, folder, display)


def _rows(
    windows: Callable[[Manifest], Iterator[Window]], manifest: Manifest
) -> Iterator[pa.Table]:
    return shard_rows(windows(manifest), len(manifest.shards))


def _resources(settings: EncodeSettings) -> Resources:
    cpus, gpus = settings.ray_cpus or 1, settings.ray_gpus or 0
    workers = settings.ray_workers
    if workers is None and settings.ray_repository is None:
        workers = len(settings.url)
    if workers is None:
        there = ray_library().cluster_resources()
        room = there.get("GPU", 0) / gpus if gpus else there.get("CPU", 0) / cpus
        workers = max(1, int(room))
    return Resources(workers, cpus, gpus)


def _workplace(folder: CorpusFolder) -> Path:
    """Return where the workers of this run write: what they leave there is no shard yet."""
    return folder.path.resolve() / f".ray-{uuid.uuid4().hex}{PARTIAL_SUFFIX}"


@contextmanager
def _there(workplace: Path) -> Iterator[None]:
    """Let a folder be there in the block."""
    with writing(str(workplace)):
        workplace.mkdir()
    try:
        yield
    finally:
        # Workers may still be at it, and begin no file where no folder is.
        gone = workplace.with_name(f".gone{workplace.name}")
        workplace.rename(gone)
        shutil.rmtree(gone)
