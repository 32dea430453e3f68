"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NODE_BYTES = 80 << 20


@contextmanager
def ray_cluster(workers: int) -> Iterator[Any]:
    """Give a cluster: a head without CPUs of its own, and nodes of one CPU each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A busy machine takes longer than half a minute.
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112 - Ray's name
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": NODE_BYTES,
            "include_dashboard": False,
        },
    )
    try:
        for _ in range(workers):
            add_node(cluster)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """Add a node of one CPU to a cluster."""
    return cluster.add_node(num_cpus=1, object_store_memory=NODE_BYTES)
