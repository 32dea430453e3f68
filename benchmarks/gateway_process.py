"""The HTTP service in a process of its own, so that it does not share the measuring one's lock."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bgem3_backend.contract import DENSE, FULL_TOKEN_LENGTHS, TOKEN_LENGTHS
from bgem3_client.transports import InferRequest, InferResponse, ModelMetadata
from bgem3_server.gateway.process.events import ServiceState
from bgem3_server.gateway.process.service import run_service
from bgem3_server.gateway.settings import GatewaySettings

HIDDEN_SIZE = 1024
_TOKENS = 12


@dataclass(frozen=True)
class GatewayProcess:
    """A running process of the service."""

    url: str
    pid: int


@contextmanager
def gateway_process(
    settings: GatewaySettings, *, without_trunk: bool = False
) -> Iterator[GatewayProcess]:
    """Run one process of the service while the block runs.

    Args:
        settings: Of the service; host and port are not used.
        without_trunk: Answer at once, with vectors that are always the same, instead of asking
            Triton: what remains is what the service itself costs.
    """
    # Not forked: gRPC's threads do not survive that.
    context = multiprocessing.get_context("spawn")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = context.Process(target=_serve, args=(settings, listener, without_trunk))
        process.start()
        try:
            assert process.pid is not None
            yield GatewayProcess(f"http://127.0.0.1:{listener.getsockname()[1]}", process.pid)
        finally:
            process.terminate()
            process.join()


def _serve(settings: GatewaySettings, listener: socket.socket, without_trunk: bool) -> None:
    # Its log is written, as in service, and nobody reads it here.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    run_service(settings, listener, _tell_nobody, _NoTrunk() if without_trunk else None)


def _tell_nobody(_: ServiceState) -> None:
    """Nobody waits for its state: requests that come early wait in the socket."""


class _NoTrunk:
    """A transport whose answers cost nothing: dense vectors of BGE-M3's size."""

    def __init__(self) -> None:
        random = np.random.default_rng(0).standard_normal((1, 2048, HIDDEN_SIZE))
        self._dense = (random / np.linalg.norm(random, axis=2, keepdims=True)).astype(np.float32)
        self._lengths = np.full((1, 2048), _TOKENS, np.int32)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer with the first rows."""
        texts = len(request.texts)
        return InferResponse(
            {
                DENSE.name: self._dense[:, :texts],
                TOKEN_LENGTHS.name: self._lengths[:, :texts],
                FULL_TOKEN_LENGTHS.name: self._lengths[:, :texts],
            },
            "1",
        )

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """Return BGE-M3's sizes."""
        shape = (-1, -1, HIDDEN_SIZE)
        return ModelMetadata(model, ("1",), {"dense": shape, "colbert": shape})

    async def close(self) -> None:
        """Nothing to let go of."""
