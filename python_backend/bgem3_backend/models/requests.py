"""Between Triton's requests and responses and plain arrays; errors to Triton's codes."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import triton_python_backend_utils as pb_utils

from bgem3_backend.contract import Tensor
from bgem3_backend.errors import InvalidRequestError, ModelError, NotFiniteError
from bgem3_backend.models.metrics import Counter
from bgem3_backend.packed_texts import Int32Array

Result = TypeVar("Result")


def input_array(request: Any, tensor: Tensor) -> npt.NDArray[Any]:
    """Return an input on the host, batch dimension taken off.

    Raises:
        InvalidRequestError: The leading dimension is not 1.
    """
    array: npt.NDArray[Any] = pb_utils.get_input_tensor_by_name(request, tensor.name).as_numpy()
    if array.shape[0] != 1:
        raise InvalidRequestError(
            f"'{tensor.name}' has shape {list(array.shape)}; the leading dimension must be 1: "
            "texts go side by side in one row"
        )
    row: npt.NDArray[Any] = array[0]
    return row


def input_integers(request: Any, tensor: Tensor) -> Int32Array:
    """Return an INT32 input of a model whose other inputs may be on a GPU: [n], on the host.

    Raises:
        InvalidRequestError: The leading dimension is not 1.
    """
    array: Int32Array = input_torch(request, tensor).cpu().numpy()
    return array


def input_torch(request: Any, tensor: Tensor) -> torch.Tensor:
    """Return an input where it is, host or GPU, not copied, batch dimension taken off.

    Raises:
        InvalidRequestError: The leading dimension is not 1.
    """
    found = pb_utils.get_input_tensor_by_name(request, tensor.name)
    value = torch.utils.dlpack.from_dlpack(found.to_dlpack())
    if value.shape[0] != 1:
        raise InvalidRequestError(
            f"'{tensor.name}' has shape {list(value.shape)}; the leading dimension must be 1"
        )
    return value[0]


def output_array(tensor: Tensor, value: npt.NDArray[Any]) -> Any:
    """Make an output from an array on the host, batch dimension put on."""
    return pb_utils.Tensor(tensor.name, np.ascontiguousarray(value[None]))


def output_torch(tensor: Tensor, value: torch.Tensor) -> Any:
    """Make an output from a tensor where it is, batch dimension put on."""
    return pb_utils.Tensor.from_dlpack(tensor.name, value.contiguous()[None])


def request_parameters(request: Any) -> dict[str, object]:
    """Return the parameters that came with the request."""
    parameters: dict[str, object] = json.loads(request.parameters() or "{}")
    return parameters


class Answer:
    """The one response to a request, sent at once; others of the batch may still be at work."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self._sent = False

    @property
    def output_names(self) -> list[str]:
        """The outputs that the step of the ensemble, or a direct caller, wants."""
        names: list[str] = self.request.requested_output_names()
        return names

    def send(self, outputs: Iterable[Any]) -> None:
        """Answer with outputs."""
        self._send(pb_utils.InferenceResponse(list(outputs)))

    def fail(self, error: Exception) -> None:
        """Answer with an error: the sender's fault by type, everything else the server's."""
        if isinstance(error, InvalidRequestError):
            code = pb_utils.TritonError.INVALID_ARG
        else:
            code = pb_utils.TritonError.INTERNAL
        self._send(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code)))

    def _send(self, response: Any) -> None:
        # Triton 24.10 dies when a request is answered twice, or when execute() raises after an
        # answer, so a second one is dropped here; answering() has logged why there was one.
        if self._sent:
            return
        self._sent = True
        self.request.get_response_sender().send(
            response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        )


@contextmanager
def answering(request: Any, not_finite: Counter | None = None) -> Iterator[Answer]:
    """Whatever fails inside becomes the answer to this request, and to no other.

    A request that is not answered hangs its sender, and an exception that leaves execute() can end
    the server, so nothing passes this boundary; what was not foreseen goes to Triton's log as well.

    Args:
        request: The one that is being answered.
        not_finite: Counts the answers that would have held NaN or infinity.
    """
    answer = Answer(request)
    try:
        yield answer
    except ModelError as error:
        answer.fail(error)
        if not_finite is not None and isinstance(error, NotFiniteError):
            not_finite.add(1)
    except Exception as error:  # noqa: BLE001 - see above
        pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
        answer.fail(error)


def read_each(requests: Sequence[Any], read: Callable[[Any], Result]) -> list[tuple[Any, Result]]:
    """Read every request of a batch; answer those that are wrong, and return the others."""
    good = []
    for request in requests:
        with answering(request):
            good.append((request, read(request)))
    return good
