"""Stands in for ``triton_python_backend_utils``, which exists inside Triton alone."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np


class Tensor:
    def __init__(self, name: str, value: np.ndarray[Any, Any]) -> None:
        self.name, self.value = name, value

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self.value


class TritonError:
    INTERNAL, INVALID_ARG = "INTERNAL", "INVALID_ARG"

    def __init__(self, message: str, code: str) -> None:
        self.message, self.code = message, code


class InferenceResponse:
    def __init__(
        self, outputs: list[Tensor] | None = None, error: TritonError | None = None
    ) -> None:
        self.outputs = {tensor.name: tensor.value for tensor in outputs or []}
        self.error = error


class Metric:
    def __init__(self) -> None:
        self.value = 0.0

    def increment(self, amount: float) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value


class MetricFamily:
    COUNTER, GAUGE = "counter", "gauge"
    made: ClassVar[dict[str, Metric]] = {}

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name = name

    def Metric(self, labels: dict[str, str]) -> Metric:  # noqa: N802 - Triton's name
        return self.made.setdefault(self.name, Metric())


class Logger:
    errors: ClassVar[list[str]] = []
    lines: ClassVar[list[str]] = []

    @classmethod
    def log_info(cls, message: str) -> None:
        cls.lines.append(message)

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.errors.append(message)


TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class ResponseSender:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[InferenceResponse, int]] = []

    def send(self, response: InferenceResponse, flags: int) -> None:
        self.sent.append((response, flags))


class Request:
    """A request for some outputs, with inputs by name."""

    def __init__(
        self, outputs: Sequence[str] = ("token_lengths",), **inputs: np.ndarray[Any, Any]
    ) -> None:
        self.outputs, self.inputs = outputs, inputs
        self.sender = ResponseSender()

    def get_response_sender(self) -> ResponseSender:
        return self.sender

    def parameters(self) -> str:
        return ""

    def requested_output_names(self) -> list[str]:
        return list(self.outputs)


def get_input_tensor_by_name(request: Request, name: str) -> Tensor:
    return Tensor(name, request.inputs[name])


def triton_utilities() -> ModuleType:
    """Return a module with all of the above, its metrics and its log empty."""
    module = ModuleType("triton_python_backend_utils")
    MetricFamily.made = {}
    Logger.errors, Logger.lines = [], []
    for item in (Tensor, TritonError, InferenceResponse, MetricFamily, Logger):
        setattr(module, item.__name__, item)
    module.get_input_tensor_by_name = get_input_tensor_by_name  # type: ignore[attr-defined]
    module.TRITONSERVER_RESPONSE_COMPLETE_FINAL = (  # type: ignore[attr-defined]
        TRITONSERVER_RESPONSE_COMPLETE_FINAL
    )
    return module
