"""A fake Triton that is well, refuses, is away or says nothing, as it is told."""

from __future__ import annotations

import asyncio

from bgem3_client import FakeTransport
from bgem3_client.transports import InferRequest, InferResponse, ModelMetadata


class ToldTransport(FakeTransport):
    """Answers as the client's fake does, until told otherwise; tests tell it from any thread.

    Attributes:
        error: Raised instead of an answer.
        away: Whether it also says nothing of its model.
        silent: Whether requests wait until it is well again.
        version: Of the model that answers.
        texts: Those that it was asked to encode, the probe's left out.
    """

    def __init__(self, hidden_size: int = 16, version: str = "1") -> None:
        super().__init__(hidden_size=hidden_size, colbert_size=8)
        self.error: Exception | None = None
        self.away = False
        self.silent = False
        self.version = version
        self.texts: list[str] = []

    async def infer(self, request: InferRequest) -> InferResponse:
        """Do as told."""
        self.texts += [text.decode() for text in request.texts if text != b"ready?"]
        while self.silent:
            await asyncio.sleep(0.005)
        if self.error is not None:
            raise self.error
        response = await super().infer(request)
        return InferResponse(response.tensors, self.version)

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """Do as told."""
        if self.away and self.error is not None:
            raise self.error
        return await super().model_metadata(model, model_version, timeout_seconds)

    def leave(self, error: Exception) -> None:
        """Be away, as a Triton that was killed."""
        self.error, self.away = error, True

    def come_back(self) -> None:
        """Be well."""
        self.error, self.away, self.silent = None, False, False
