"""How much the rounding of each linear layer disturbs the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bgem3_export.int8.linear_layers import LinearLayer
from bgem3_export.int8.quantized_linear import QuantizedLinear
from bgem3_export.int8.report import LIMITS
from bgem3_export.reference import Reference, Representations


def measure_disturbance(
    reference: Reference,
    layers: Sequence[LinearLayer],
    quantized: Mapping[str, QuantizedLinear],
    texts: Sequence[npt.NDArray[np.int32]],
    on_layer: Callable[[int, int], None],
) -> dict[str, float]:
    """Round one layer at a time and look at the dense vectors and the sparse weights.

    Args:
        reference: The checkpoint in PyTorch.
        layers: Which to measure.
        quantized: The layers rounded, by name.
        texts: Token ids of each; few will do, for only the order of the layers counts.
        on_layer: Called with (layers measured, layers in all).

    Returns:
        By the layers' names, the power of the disturbance in units of what is allowed. The powers
        of several layers add up, about.
    """
    expected = [reference(text) for text in texts]
    largest = max((weight for text in expected for weight in text.sparse.values()), default=1.0)
    powers = {}
    for number, layer in enumerate(layers):
        with _rounded(reference, layer, quantized[layer.name]):
            actual = [reference(text) for text in texts]
        pairs = list(zip(expected, actual, strict=True))
        dense = np.mean([1 - float(was.dense @ now.dense) for was, now in pairs])
        sparse = np.mean(np.square([error / largest for pair in pairs for error in _errors(*pair)]))
        powers[layer.name] = float(
            dense / (1 - LIMITS.dense_cosine) + sparse / LIMITS.sparse_difference**2
        )
        on_layer(number + 1, len(layers))
    return powers


def _errors(was: Representations, now: Representations) -> Iterator[float]:
    for token in was.sparse.keys() | now.sparse.keys():
        yield now.sparse.get(token, 0.0) - was.sparse.get(token, 0.0)


@contextmanager
def _rounded(
    reference: Reference, layer: LinearLayer, quantized: QuantizedLinear
) -> Iterator[None]:
    """Let a layer of the model compute as the INT8 graph does."""
    width = layer.outputs // len(layer.modules)

    def replace(
        part: int,
    ) -> Callable[[torch.nn.Module, tuple[Any, ...], torch.Tensor], torch.Tensor]:
        columns = slice(part * width, (part + 1) * width)
        return lambda module, arguments, output: quantized(arguments[0])[..., columns]

    hooks = [
        reference.linear(name).register_forward_hook(replace(part))
        for part, name in enumerate(layer.modules)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
