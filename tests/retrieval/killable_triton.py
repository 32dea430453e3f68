"""A real Triton that is killed, and started again at the same addresses, as a supervisor would."""

from __future__ import annotations

from concurrent.futures import wait
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest
from kept_port import kept_port

from bgem3_server.errors import InstallationError
from bgem3_server.settings import ServeSettings
from bgem3_server.triton.addresses import Addresses
from bgem3_server.triton.installation import find_installation
from bgem3_server.triton.session import listening_ports
from bgem3_server.triton.supervisor import Supervisor


class KillableTriton:
    """It has its ports for as long as it lives; leave the block to end it."""

    def __init__(self, repository: Path) -> None:
        """Start it; skips the test where none can run.

        Args:
            repository: What it serves.
        """
        self._repository = repository
        # Whoever kills it says when it comes back. Probes would be requests among the others.
        self._settings = ServeSettings(
            grpc_port=kept_port(),
            http_port=kept_port(),
            metrics_port=kept_port(),
            probe_interval_seconds=0,
            restart_limit=0,
        )
        try:
            find_installation(self._settings.tritonserver)
        except InstallationError as error:
            pytest.skip(f"no Triton can run here: {error}")
        self._supervisor: Supervisor | None = None
        self.start()

    @property
    def addresses(self) -> Addresses:
        """The same after every start."""
        settings = self._settings
        return Addresses(
            settings.address, settings.grpc_port, settings.http_port, settings.metrics_port
        )

    def start(self) -> None:
        """Start it where it is not running; return when it answers."""
        if self._supervisor is None:
            self._supervisor = Supervisor(
                self._repository, self._settings, lambda event: None, lambda line: None
            )
            self._supervisor.start()
            self._supervisor.ready.result()

    def kill(self) -> None:
        """SIGKILL to the server, at once; return when nothing is left of it."""
        assert self._supervisor is not None
        (server,) = [
            child
            for child in psutil.Process().children()
            if self._settings.grpc_port in listening_ports(child.pid)
        ]
        server.kill()
        self._end()

    def _end(self) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.stop()
            wait([supervisor.ended])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
