"""What the two head models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from bgem3_backend.heads import LinearHead
from bgem3_backend.models.metrics import close_metrics, nonfinite_counter
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import Batch
from bgem3_backend.settings import BackendSettings


class HeadModel(ABC):
    """Loads one linear layer onto the instance's device, and answers each request on its own."""

    name: str
    """The model's name in the repository."""
    file: str
    """The layer's file in the folder of a version."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the head."""
        config = ModelConfig.from_arguments(arguments)
        torch.set_num_threads(BackendSettings().head_threads)
        self.max_length_tokens = config.integer("max_length_tokens")
        self.linear = LinearHead.load(
            config.version_directory / self.file, torch.device(config.device)
        )
        self._nonfinite_texts = nonfinite_counter(self.name)
        self.prepare(config)

    def finalize(self) -> None:
        """Let go of what Triton has to take back."""
        close_metrics()

    @torch.inference_mode()
    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each on its own."""
        batch = Batch(requests, self._nonfinite_texts, torch.OutOfMemoryError)
        for position, outputs in batch.read(self.outputs):
            batch.answer(position, outputs)
        return batch.responses

    @abstractmethod
    def prepare(self, config: ModelConfig) -> None:
        """Make the head from :attr:`linear`."""

    @abstractmethod
    def outputs(self, request: Any) -> list[Any]:
        """Return the outputs of one request.

        Raises:
            ModelError: The request is wrong, or its answer would not be finite.
        """
