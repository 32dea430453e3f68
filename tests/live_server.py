"""A live Triton for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bgem3_server.errors import InstallationError
from bgem3_server.serving import running_triton
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.events import Event
from bgem3_server.triton.installation import find_installation

# Probes would count in the statistics that tests read.
QUIET = ServeSettings(grpc_port=0, http_port=0, metrics_port=0, probe_interval_seconds=0)


@contextmanager
def live_triton(
    repository: Path,
    on_event: Callable[[Event], None] = lambda event: None,
    settings: ServeSettings = QUIET,
) -> Iterator[Addresses]:
    """A live Triton on ports that the system picked; skips where none can run."""
    try:
        find_installation(settings.tritonserver)
    except InstallationError as error:
        pytest.skip(f"no Triton can run here: {error}")
    with running_triton(repository, settings, on_event) as addresses:
        yield addresses
