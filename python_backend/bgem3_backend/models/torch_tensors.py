"""Between Triton's tensors and torch's, on a GPU or on the host."""

from __future__ import annotations

from typing import Any

import torch
import triton_python_backend_utils as pb_utils

from bgem3_backend.contract import Tensor
from bgem3_backend.models.requests import check_row
from bgem3_backend.packed_texts import Int32Array


def input_integers(request: Any, tensor: Tensor) -> Int32Array:
    """Return an INT32 input of a model whose other inputs may be on a GPU: [n], on the host.

    Raises:
        InvalidRequestError: The leading dimension is not 1, or is missing.
    """
    array: Int32Array = input_torch(request, tensor).cpu().numpy()
    return array


def input_torch(request: Any, tensor: Tensor) -> torch.Tensor:
    """Return an input where it is, host or GPU, not copied, batch dimension taken off.

    Raises:
        InvalidRequestError: The leading dimension is not 1, or is missing.
    """
    found = pb_utils.get_input_tensor_by_name(request, tensor.name)
    value = torch.utils.dlpack.from_dlpack(found.to_dlpack())
    check_row(tensor, value.shape)
    return value[0]


def output_torch(tensor: Tensor, value: torch.Tensor) -> Any:
    """Make an output from a tensor where it is, batch dimension put on."""
    # PyTorch calls an empty tensor contiguous whatever its strides are; Triton looks at them.
    value = value.contiguous() if value.numel() else value.new_empty(value.shape)
    return pb_utils.Tensor.from_dlpack(tensor.name, value[None])
