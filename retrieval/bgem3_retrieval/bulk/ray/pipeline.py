"""The pipeline of Ray Data: shards are read here, and encoded wherever there is room."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Final

from bgem3_client.errors import BgeM3Error
from bgem3_retrieval.bulk.corpus.endpoint import ServedModel
from bgem3_retrieval.bulk.ray.library import ray_library
from bgem3_retrieval.bulk.ray.resources import Resources
from bgem3_retrieval.bulk.ray.worker import WorkerSettings, encode_row, model_of
from bgem3_retrieval.errors import ClusterError

if TYPE_CHECKING:
    import pyarrow as pa

# Nodes come and go; a shard that takes down one worker after the other is another matter.
_RETRIES: Final = 4
_NOTICE_SECONDS: Final = 15.0


def first_model(
    settings: WorkerSettings, resources: Resources, say: Callable[[str], None]
) -> ServedModel:
    """Return what the servers serve, as seen from a node, as soon as one has room for a worker.

    Args:
        settings: What the workers do.
        resources: What they take.
        say: Told, in words, what is waited for.

    Raises:
        UnavailableError: None of the servers answered.
        ModelChangedError: They serve unlike models or versions.
        ServerError: One of them answers, and not as a server of this project would.
        ClusterError: The cluster failed, or its nodes cannot be used.
    """
    ray = ray_library()
    answer = ray.remote(**resources.of_a_task(), max_retries=_RETRIES)(model_of).remote(settings)
    while not ray.wait([answer], timeout=_NOTICE_SECONDS)[0]:
        say(f"waiting for the cluster to start a worker: {resources}")
    try:
        model: ServedModel | BgeM3Error = ray.get(answer)
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray's workers do not start: {error}") from error
    if isinstance(model, BgeM3Error):
        raise model
    return model


def encoded_rows(
    rows: Callable[[], Iterable[pa.Table]],
    settings: WorkerSettings,
    model: ServedModel,
    resources: Resources,
) -> Generator[pa.Table, None, None]:
    """Yield what came of each row, in order.

    Args:
        rows: Reads them, in a process of this machine.
        settings: What the workers do.
        model: What they all encode with.
        resources: What they take.

    Raises:
        ClusterError: Worker after worker died of a shard, or the cluster failed.
    """
    ray = ray_library()
    from ray.data import TaskPoolStrategy, read_datasource

    from bgem3_retrieval.bulk.ray.row_source import RowSource

    # What a person is to read, the command says.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    here = ray.get_runtime_context().get_node_id()
    with warnings.catch_warnings():
        # `max_retries` has no other way in yet.
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = read_datasource(
            RowSource(rows, os.getcwd()),
            override_num_blocks=1,
            num_cpus=0,
            label_selector={"ray.io/node-id": here},
        ).map_batches(
            encode_row,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"settings": settings, "model": model},
            compute=TaskPoolStrategy(size=resources.workers),
            max_retries=_RETRIES,
            **resources.of_a_task(),
        )
    context = dataset.context
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    # A row is a shard, and a task of its own: smaller blocks would be put together.
    context.target_max_block_size = 1
    try:
        yield from dataset.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow")
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"workers died again and again over the shards after those that are whole: {error}"
        ) from error
