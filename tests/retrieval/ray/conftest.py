"""A cluster for all tests of Ray: it takes seconds to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ray_cluster import ray_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head and two nodes; who kills one adds one."""
    with ray_cluster(workers=2) as found:
        yield found
