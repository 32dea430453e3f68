"""``bgem3 encode --ray`` into a folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path

from bgem3_retrieval.bulk.corpus.display import CorpusDisplay
from bgem3_retrieval.bulk.corpus.endpoint import Endpoint, ServedModel
from bgem3_retrieval.bulk.corpus.folder import CorpusFolder
from bgem3_retrieval.bulk.corpus.manifest import Manifest
from bgem3_retrieval.bulk.corpus.shard_file import PARTIAL_SUFFIX
from bgem3_retrieval.bulk.corpus.windows import Window
from bgem3_retrieval.bulk.output_file import writing
from bgem3_retrieval.bulk.ray.crew import Crew
from bgem3_retrieval.bulk.ray.job import encode_corpus_on_ray
from bgem3_retrieval.bulk.ray.worker import WorkerSettings
from bgem3_retrieval.bulk.settings import READY_SECONDS, EncodeSettings


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
    size = settings.ray_workers or len(settings.url)
    limits = settings.limits()
    worker_settings = WorkerSettings(
        folder=_workplace(folder),
        urls=settings.url,
        options=settings.encode_options(),
        # Every worker uses every server, and together they send no more than one process would.
        limits=replace(limits, max_in_flight=ceil(limits.max_in_flight / size)),
        dense_dtype=settings.dense_dtype,
        timeout_seconds=settings.timeout_seconds,
        ready_seconds=READY_SECONDS,
        connect=Endpoint.connect,
    )
    with Crew(size, worker_settings, display.say) as crew:
        folder.begin(wanted(crew.open()))
        display.begin(folder.manifest)
        if not folder.manifest.complete:
            with _there(worker_settings.folder):
                encode_corpus_on_ray(windows(folder.manifest), crew, folder, display)


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
