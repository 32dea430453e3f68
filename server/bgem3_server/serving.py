"""A running Triton as a context manager, for tests, demos and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path

from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.events import Event
from bgem3_server.triton.log import LogLine
from bgem3_server.triton.supervisor import Supervisor


def _ignore(_: Event | LogLine) -> None:
    """Tell nobody."""


@contextmanager
def running_triton(
    repository: Path,
    settings: ServeSettings | None = None,
    on_event: Callable[[Event], None] = _ignore,
    on_log: Callable[[LogLine], None] = _ignore,
) -> Iterator[Addresses]:
    """Serve ``repository`` while the block runs; Triton is stopped however the block is left.

    Args:
        repository: The directory to serve.
        settings: Default: free ports; what is set by the environment is used.
        on_event: Called, from another thread, with what happens to the server.
        on_log: Called, from another thread, with every line of Triton's log.

    Raises:
        RepositoryError: ``repository`` is not a model repository.
        InstallationError: There is no tritonserver that can run here.
        StartError: Triton did not come up; the message has the reason from its log.
        GaveUpError: At the end of the block: Triton failed too often while it ran.
    """
    supervisor = Supervisor(
        repository,
        settings or ServeSettings(grpc_port=0, http_port=0, metrics_port=0),
        on_event,
        on_log,
    )
    supervisor.start()
    try:
        yield supervisor.ready.result().addresses
    finally:
        supervisor.stop()
        wait([supervisor.ended])
    supervisor.ended.result()
