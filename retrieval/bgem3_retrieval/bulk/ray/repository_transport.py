"""A transport that computes in this process: no server, and nothing on the wire."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from bgem3_backend.contract import ENSEMBLE
from bgem3_client.errors import ClientClosedError
from bgem3_client.transports import InferRequest, InferResponse, ModelMetadata
from bgem3_retrieval.bulk.ray.repository_model import RepositoryModel


class RepositoryTransport:
    """Answers from a model that is loaded here; see :class:`bgem3_client.transports.Transport`.

    One thread computes, request by request: the engine has threads of its own.
    """

    def __init__(self, model: RepositoryModel) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, "bgem3-model")
        self._closed = False

    async def infer(self, request: InferRequest) -> InferResponse:
        """Compute the answer; see :class:`bgem3_client.transports.Transport`."""
        if self._closed:
            raise ClientClosedError("this model is closed")
        loop = asyncio.get_running_loop()
        tensors = await loop.run_in_executor(self._thread, self._model.answer, request)
        return InferResponse(tensors, self._model.model_version)

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """Return what a server would say; see :class:`bgem3_client.transports.Transport`."""
        return ModelMetadata(ENSEMBLE.name, (self._model.model_version,), self._model.output_shapes)

    async def close(self) -> None:
        """Begin nothing more; see :class:`bgem3_client.transports.Transport`."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
