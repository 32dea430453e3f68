"""Between Triton's requests and responses and plain arrays; errors to Triton's codes.

Without torch, which only the heads need: it takes a process 100 MB and a second of its start.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from bgem3_backend.contract import OUT_OF_MEMORY_MARK, Tensor
from bgem3_backend.errors import InvalidRequestError, ModelError, NotFiniteError
from bgem3_backend.failed_allocation import is_failed_allocation
from bgem3_backend.models.metrics import Counter

Result = TypeVar("Result")


def input_array(request: Any, tensor: Tensor) -> npt.NDArray[Any]:
    """Return an input on the host, batch dimension taken off.

    Raises:
        InvalidRequestError: The leading dimension is not 1, or is missing.
    """
    array: npt.NDArray[Any] = pb_utils.get_input_tensor_by_name(request, tensor.name).as_numpy()
    check_row(tensor, array.shape)
    row: npt.NDArray[Any] = array[0]
    return row


def check_row(tensor: Tensor, shape: Sequence[int]) -> None:
    """Hold an input to one row of the contract's rank.

    Raises:
        InvalidRequestError: Another rank, or not one row. Triton 24.10 takes a leading dimension
            of 0, checks the rest, and hands over the rest alone.
    """
    rank = 1 + len(tensor.dims)
    if len(shape) != rank or shape[0] != 1:
        raise InvalidRequestError(
            f"'{tensor.name}' has shape {list(shape)}; it must have {rank} dimensions, and the "
            "leading one must be 1: texts go side by side in one row"
        )


def output_array(tensor: Tensor, value: npt.NDArray[Any]) -> Any:
    """Make an output from an array on the host, batch dimension put on."""
    return pb_utils.Tensor(tensor.name, np.ascontiguousarray(value[None]))


def request_parameters(request: Any) -> dict[str, object]:
    """Return the parameters that came with the request."""
    parameters: dict[str, object] = json.loads(request.parameters() or "{}")
    return parameters


class Batch:
    """The requests that Triton hands over together, and one response for each of them.

    A failure stays with its own request. The responses go back all at once, when ``execute``
    returns, or each as soon as it is there (:meth:`send_each`).
    """

    def __init__(
        self,
        requests: Sequence[Any],
        nonfinite_texts: Counter | None = None,
        memory_error: type[Exception] = MemoryError,
    ) -> None:
        """Take a batch.

        Args:
            requests: As Triton hands them over.
            nonfinite_texts: Counts the texts for which the model gave NaN or infinity.
            memory_error: What the model's library raises when it gets no memory, beside Python's
                own error (which is NumPy's too, and what ``std::bad_alloc`` becomes on its way out
                of an extension).
        """
        self._requests = requests
        self._nonfinite_texts = nonfinite_texts
        self._memory_errors = (MemoryError, memory_error)
        self._responses: list[Any] = [None] * len(requests)
        self._sends_each = False

    @property
    def responses(self) -> list[Any]:
        """The responses, in the requests' order, when each has been answered and none sent."""
        return self._responses

    @property
    def sends_each(self) -> bool:
        """Whether the responses are sent, and ``execute`` is to return None."""
        return self._sends_each

    def send_each(self) -> None:
        """Send each response as soon as it is there, those that are there at once.

        A short text does not wait then for the long ones of its batch, nor are all outputs held in
        memory until the last is computed. It costs a message between the processes for each, and
        nothing may leave ``execute`` any more: Triton 24.10 would end.
        """
        self._sends_each = True
        for position, response in enumerate(self._responses):
            if response is not None:
                self._respond(position, response)

    def _respond(self, position: int, response: Any) -> None:
        if not self._sends_each:
            self._responses[position] = response
            return
        self._responses[position] = None  # what was sent need not be kept
        self._requests[position].get_response_sender().send(
            response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        )

    def read(self, read: Callable[[Any], Result]) -> list[tuple[int, Result]]:
        """Read every request; those that cannot be read are answered.

        Returns:
            (position in the batch, what was read) of the others.
        """
        readable = []
        for position in range(len(self._requests)):
            with self.answering(position) as request:
                readable.append((position, read(request)))
        return readable

    def answer(self, position: int, outputs: Iterable[Any]) -> None:
        """Answer one request with outputs."""
        self._respond(position, pb_utils.InferenceResponse(list(outputs)))

    def fail(self, position: int, error: Exception) -> None:
        """Answer one request with an error: the sender's fault by type, all else the server's.

        What was not foreseen goes to Triton's log as well; so does what was wrong when memory ran
        out, of which the sender needs to know only what to do.
        """
        code = pb_utils.TritonError.INTERNAL
        message = str(error)
        if isinstance(error, InvalidRequestError):
            code = pb_utils.TritonError.INVALID_ARG
        elif isinstance(error, NotFiniteError) and self._nonfinite_texts is not None:
            self._nonfinite_texts.add(len(error.indices))
        elif not isinstance(error, ModelError):
            pb_utils.Logger.log_error("".join(traceback.format_exception(error)))
            if isinstance(error, self._memory_errors) or is_failed_allocation(str(error)):
                message = (
                    f"{OUT_OF_MEMORY_MARK}the server had not enough memory for this request: send "
                    "fewer or shorter texts at once"
                )
        response = pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
        self._respond(position, response)

    def fail_all(self, positions: Iterable[int], error: Exception) -> None:
        """Answer several requests with the error that ended their common work."""
        for position in positions:
            self.fail(position, error)

    @contextmanager
    def answering(self, position: int) -> Iterator[Any]:
        """Whatever fails inside becomes the answer to this request, and to no other.

        Args:
            position: Of the request in the batch.

        Yields:
            The request.
        """
        try:
            yield self._requests[position]
        except Exception as error:  # noqa: BLE001 - what leaves execute() fails the neighbours
            self.fail(position, error)
