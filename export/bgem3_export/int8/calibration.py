"""What goes into each linear layer, over the calibration texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bgem3_export.int8.linear_layers import LinearLayer
from bgem3_export.reference import FloatArray, Reference


@dataclass(frozen=True)
class InputStatistics:
    """What goes into one linear layer.

    Attributes:
        mean: Of each input over all tokens, [K].
        largest: Of the absolute values, [K].
    """

    mean: FloatArray
    largest: FloatArray


def measure_inputs(
    reference: Reference,
    layers: Iterable[LinearLayer],
    texts: Sequence[npt.NDArray[np.int32]],
    on_text: Callable[[int, int], None],
) -> Mapping[str, InputStatistics]:
    """Run some texts and watch the inputs of the linear layers.

    Args:
        reference: The checkpoint in PyTorch.
        layers: Which to watch.
        texts: Token ids of each.
        on_text: Called with (texts run, texts in all).

    Returns:
        By the layers' names.
    """
    watches = {layer.name: _Watch(layer.inputs) for layer in layers}
    hooks = [
        reference.linear(layer.modules[0]).register_forward_pre_hook(watches[layer.name])
        for layer in layers
    ]
    for number, text in enumerate(texts):
        reference(text)
        on_text(number + 1, len(texts))
    for hook in hooks:
        hook.remove()
    return {name: watch.statistics() for name, watch in watches.items()}


class _Watch:
    def __init__(self, inputs: int) -> None:
        self._sum = torch.zeros(inputs, dtype=torch.float64)
        self._largest = torch.zeros(inputs)
        self._tokens = 0

    def __call__(self, module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        rows = arguments[0].flatten(end_dim=-2)
        self._sum += rows.double().sum(dim=0)
        self._largest = torch.maximum(self._largest, rows.abs().amax(dim=0))
        self._tokens += rows.shape[0]

    def statistics(self) -> InputStatistics:
        return InputStatistics(
            mean=(self._sum / self._tokens).float().numpy(), largest=self._largest.numpy()
        )
