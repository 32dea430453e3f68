"""The representations as PyTorch computes them from the checkpoint: what an export must equal.

One text at a time and without padding, in FP32, with the formulas of FlagEmbedding 1.4.2
(``EncoderOnlyEmbedderM3Model``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bgem3_export.checkpoint import Checkpoint, LinearHead

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Representations:
    """What one text gives.

    Attributes:
        dense: [H], L2-normalised.
        hidden_states: [T, H].
        sparse: The weight of each token id that has one.
        colbert: [T - 1, D], L2-normalised rows.
    """

    dense: FloatArray
    hidden_states: FloatArray
    sparse: dict[int, float]
    colbert: FloatArray


class Reference:
    """The checkpoint in PyTorch."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        """Load the trunk with transformers.

        Args:
            checkpoint: Its files are read as transformers reads them.
            device: A torch device.
        """
        from transformers import XLMRobertaModel
        from transformers.utils import logging

        # It reports the pooler that we do not use, and draws a bar across ours.
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._device = device
        model: Any = XLMRobertaModel.from_pretrained(  # a folder  # nosec B615
            checkpoint.directory, add_pooling_layer=False, dtype=torch.float32
        )
        self._model = model.eval().to(device)
        self._sparse = self._tensors(checkpoint.sparse_head)
        self._colbert = self._tensors(checkpoint.colbert_head)
        self._ignored = set(checkpoint.special_token_ids())

    @torch.inference_mode()
    def __call__(self, input_ids: npt.NDArray[np.int32]) -> Representations:
        """Compute all representations of one text from its token ids, [T]."""
        ids = torch.from_numpy(input_ids.astype(np.int64)).to(self._device)[None]
        states = self._model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        weights = torch.relu(torch.nn.functional.linear(states, *self._sparse)).squeeze(-1)
        colbert = torch.nn.functional.linear(states[1:], *self._colbert)
        return Representations(
            dense=_numpy(torch.nn.functional.normalize(states[0], dim=-1)),
            hidden_states=_numpy(states),
            sparse=self._largest(input_ids, _numpy(weights)),
            colbert=_numpy(torch.nn.functional.normalize(colbert, dim=-1)),
        )

    def linear(self, name: str) -> torch.nn.Linear:
        """Return a linear layer of the trunk, by transformers' name for it."""
        layer = self._model.get_submodule(name)
        assert isinstance(layer, torch.nn.Linear)
        return layer

    def _largest(self, input_ids: npt.NDArray[np.int32], weights: FloatArray) -> dict[int, float]:
        largest: dict[int, float] = {}
        for token, weight in zip(input_ids.tolist(), weights.tolist(), strict=True):
            if token not in self._ignored and weight > largest.get(token, 0.0):
                largest[token] = weight
        return largest

    def _tensors(self, head: LinearHead) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.from_numpy(head.weight).to(self._device),
            torch.from_numpy(head.bias).to(self._device),
        )


def _numpy(tensor: torch.Tensor) -> FloatArray:
    return np.asarray(tensor.cpu().numpy(), np.float32)
