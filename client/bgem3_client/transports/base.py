"""The seam between the client and whatever carries its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bgem3_backend.contract import NOT_FINITE_MARK, OUT_OF_MEMORY_MARK, Tensor
from bgem3_backend.failed_allocation import is_failed_allocation
from bgem3_client.errors import (
    ContractError,
    InternalServerError,
    InvalidInputError,
    NotFiniteError,
    ServerError,
    ServerOutOfMemoryError,
)


class Placement(Protocol):
    """Where on this machine the server is to leave one output, instead of in its answer."""

    @property
    def region_name(self) -> str:
        """The name the region is registered under."""

    @property
    def size_bytes(self) -> int:
        """The room there is."""

    def read(self, dtype: DTypeLike, shape: Sequence[int]) -> NDArray[Any]:
        """Return a copy of what the server left there."""


@dataclass(frozen=True)
class InferRequest:
    """One request, checked by the client: every transport may take it as it is.

    Attributes:
        texts: N texts in UTF-8.
        outputs: The contract's tensors to answer with.
        parameters: ``max_length`` and ``truncate``.
        model: Triton's name of the ensemble.
        model_version: Its version; empty for the one the server prefers.
        timeout_seconds: Time allowed for the answer; None for no limit.
        placements: For outputs, by name, that go through shared memory.
        headers: Sent with it beside the transport's own, whose values they replace; names in
            lower case.
    """

    texts: tuple[bytes, ...]
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, int | bool]
    model: str
    model_version: str = ""
    timeout_seconds: float | None = None
    placements: Mapping[str, Placement] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InferResponse:
    """One answer, not yet held against the contract.

    Attributes:
        tensors: Each output asked for, by name, its leading dimension of 1 included.
        model_version: The version of the ensemble that answered.
    """

    tensors: Mapping[str, NDArray[Any]]
    model_version: str


@dataclass(frozen=True)
class ModelMetadata:
    """What a server says about a model: loaded versions and the shape of each output."""

    name: str
    versions: tuple[str, ...]
    output_shapes: Mapping[str, tuple[int, ...]]


class Transport(Protocol):
    """Carries requests; raises nothing but errors of :mod:`bgem3_client.errors`.

    All methods run in one event loop; ``infer`` runs many times at once. A refusal that is about
    one text is an ``InvalidInputError`` whose ``index`` counts within the request; so is that of a
    ``NotFiniteError``.
    """

    async def infer(self, request: InferRequest) -> InferResponse:
        """Return the answer to one request."""

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """Return what the server says about ``model``."""

    async def close(self) -> None:
        """Let go of connections; requests under way end with an error."""


@runtime_checkable
class ConfiguredTransport(Protocol):
    """A transport that can also be asked how models are configured."""

    async def model_parameters(
        self, model: str, timeout_seconds: float | None
    ) -> Mapping[str, str]:
        """Return the parameters in the configuration of a model."""


@runtime_checkable
class TritonTransport(Transport, ConfiguredTransport, Protocol):
    """A transport to a real Triton, which can also be told of shared memory on its machine."""

    async def register_region(self, name: str, key: str, size_bytes: int) -> None:
        """Make the system shared memory object ``key`` known to the server as ``name``."""

    async def unregister_region(self, name: str) -> None:
        """Make the server forget a region."""

    async def instance_kinds(self, model: str, timeout_seconds: float | None) -> frozenset[str]:
        """Return what the instances of a model run on: ``KIND_CPU``, ``KIND_GPU``."""


# An ensemble puts its own name before the message of the step that failed.
_ENSEMBLE: Final = r"(?:in ensemble '[^']*', )*"
_REFUSED_TEXT: Final = re.compile(_ENSEMBLE + r"\[index=(\d+)\] ")
_NOT_FINITE: Final = re.compile(_ENSEMBLE + re.escape(NOT_FINITE_MARK) + r"\[index=(\d+)\] ")
_OUT_OF_MEMORY: Final = re.compile(_ENSEMBLE + re.escape(OUT_OF_MEMORY_MARK))
# On GPUs the trunk is Triton's own backend, which puts this before what ONNX Runtime says.
_ONNX_RUNTIME: Final = re.compile(_ENSEMBLE + r"onnx runtime error \d+: ")


def refusal(message: str) -> InvalidInputError:
    """Return the error for a request that the server called invalid.

    A message about one text starts with ``[index=<i>] `` (the contract's wire format).
    """
    match = _REFUSED_TEXT.match(message)
    if match is None:
        return InvalidInputError(message)
    return InvalidInputError(message[match.end() :], index=int(match.group(1)))


def failure(message: str) -> ServerError:
    """Return the error for a request at which the server failed.

    A message about NaN starts with ``[not_finite] [index=<i>] ``, one about memory with
    ``[out_of_memory] ``, or it is ONNX Runtime's.
    """
    if match := _NOT_FINITE.match(message):
        return NotFiniteError(message[match.end() :], index=int(match.group(1)))
    if match := _OUT_OF_MEMORY.match(message):
        return ServerOutOfMemoryError(message[match.end() :])
    if (match := _ONNX_RUNTIME.match(message)) and is_failed_allocation(message):
        return ServerOutOfMemoryError(
            "the server had not enough memory for this request: send fewer or shorter texts at "
            f"once (ONNX Runtime: {message[match.end() :]})"
        )
    return InternalServerError(message)


_NUMPY_TYPES: Final[dict[str, type[np.generic]]] = {
    "FP32": np.float32,
    "FP16": np.float16,
    "INT32": np.int32,
}


def numpy_type(triton_datatype: str) -> type[np.generic]:
    """Return the NumPy type of a numeric Triton type.

    Raises:
        ContractError: The contract has no such type.
    """
    if triton_datatype not in _NUMPY_TYPES:
        raise ContractError(f"the server answered with type {triton_datatype}")
    return _NUMPY_TYPES[triton_datatype]


def text_tensor(texts: Sequence[bytes]) -> NDArray[np.object_]:
    """Return the texts as the ensemble takes them: BYTES [1, N]."""
    tensor = np.empty((1, len(texts)), dtype=np.object_)
    tensor[0, :] = texts
    return tensor
