"""What indexing needs of a client."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bgem3_client.embeddings import Embeddings
from bgem3_client.encode_request import ColbertDtype, Output
from bgem3_client.model_info import ModelInfo


class IndexClient(Protocol):
    """Counts and encodes; :class:`bgem3_client.Client` is one. Threads share it."""

    def encode(
        self,
        texts: Sequence[str],
        outputs: Collection[Output] = ...,
        *,
        max_length: int = ...,
        truncate: bool = ...,
        colbert_dtype: ColbertDtype = ...,
        timeout_seconds: float | None = ...,
    ) -> Embeddings:
        """Return the representations of texts, in their order."""

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return how many tokens each text has, special tokens included: int32 [N]."""

    def model_info(self) -> ModelInfo:
        """Return the model's name and sizes."""
