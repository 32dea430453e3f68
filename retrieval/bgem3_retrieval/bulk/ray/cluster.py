"""The cluster that a run is connected to."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from bgem3_retrieval.bulk.ray.address import AUTO, LOCAL
from bgem3_retrieval.bulk.ray.library import ray_library
from bgem3_retrieval.errors import ClusterError

# Ray itself looks for a head that is not there for half a minute and longer.
_CONNECT_SECONDS: Final = 5.0


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster in the block, and quietly.

    Args:
        address: ``host:port`` of its head, ``auto`` for the one that this machine belongs to, or
            ``local`` to start one on this machine for as long as the block lasts.

    Raises:
        ClusterError: It cannot be reached.
    """
    ray = ray_library()
    if address not in (AUTO, LOCAL):
        _check_head(address)
    try:
        ray.init(
            address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False if address == LOCAL else None,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(
            f"no Ray cluster to work on at {address!r}: {str(error).rstrip('.')}. Run this on one "
            f"of its nodes ('ray start' makes one of this machine), or take --ray {LOCAL}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_head(address: str) -> None:
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return  # what it takes to ask is Ray's to know
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(_CONNECT_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise ClusterError(
                f"no Ray cluster answers at {address}. 'ray status', on one of its nodes, says "
                "whether it is up; its port is 6379 where nobody chose another"
            ) from error
