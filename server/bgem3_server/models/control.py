"""Triton's model control, over gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bgem3_backend.contract import ENSEMBLE
from bgem3_client.address import Address
from bgem3_client.errors import AccessError, DeadlineError, InvalidInputError, UnavailableError
from bgem3_client.triton_key import GRPC_HEADER, VARIABLE, key_headers
from bgem3_server.models.errors import ModelChangeError

_QUESTION_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
# Of a model that is not loaded the state is empty, or UNAVAILABLE.
_IN_MEMORY: Final = ("READY", "LOADING", "UNLOADING")


class TritonControl:
    """Loads and unloads models of one Triton; a context manager.

    Args:
        url: Of Triton's gRPC port.
        timeout_seconds: How long a model may take to load or to unload.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        address = Address.parse(url)
        if address.protocol != "grpc" or address.tls is not None:
            raise InvalidInputError(
                f"models are changed through Triton's gRPC port: write host:port, not {url!r}"
            )
        self._target = address.target
        self._timeout_seconds = timeout_seconds
        self._key = tuple(key_headers(address).items())
        self._channel = grpc.insecure_channel(
            address.target, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def serving_versions(self) -> tuple[str, ...]:
        """Return the versions of ``bge_m3`` that answer; none where it is not loaded.

        Raises:
            UnavailableError: Triton cannot be reached.
            AccessError: It does not take the key.
        """
        return tuple(
            version for version, state in self.states(ENSEMBLE.name).items() if state == "READY"
        )

    def states(self, model: str) -> dict[str, str]:
        """Return the state of each version of a model, by Triton's own names.

        Raises:
            UnavailableError: Triton cannot be reached.
            AccessError: It does not take the key.
        """
        index = self._ask(
            self._stub.RepositoryIndex, service_pb2.RepositoryIndexRequest(), _QUESTION_SECONDS
        )
        return {entry.version: entry.state for entry in index.models if entry.name == model}

    def load(self, model: str) -> None:
        """Load a model, or load it anew; what was loaded before answers meanwhile.

        Raises:
            ModelChangeError: Triton cannot; the message has its reason.
            DeadlineError: It takes too long.
            UnavailableError: Triton cannot be reached.
            AccessError: It does not take the key.
        """
        with self._changing(f"Triton could not load {model}"):
            self._ask(
                self._stub.RepositoryModelLoad,
                service_pb2.RepositoryModelLoadRequest(model_name=model),
                self._timeout_seconds,
            )

    def unload(self, models: Iterable[str]) -> None:
        """Unload models one after the other, and wait until their memory is free.

        Raises:
            ModelChangeError: Triton cannot; the message has its reason.
            DeadlineError: It takes too long: requests may still be in flight.
            UnavailableError: Triton cannot be reached.
            AccessError: It does not take the key.
        """
        for model in models:
            if not self._is_in_memory(model):
                continue  # a profile may have no use for it
            with self._changing(f"Triton could not unload {model}"):
                self._ask(
                    self._stub.RepositoryModelUnload,
                    service_pb2.RepositoryModelUnloadRequest(model_name=model),
                    self._timeout_seconds,
                )
            deadline = time.monotonic() + self._timeout_seconds
            while self._is_in_memory(model):
                if time.monotonic() > deadline:
                    raise DeadlineError(
                        f"{model} was not unloaded within {self._timeout_seconds:g} s"
                    )
                time.sleep(_POLL_SECONDS)

    def _is_in_memory(self, model: str) -> bool:
        return any(state in _IN_MEMORY for state in self.states(model).values())

    @contextmanager
    def _changing(self, failure: str) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise ModelChangeError(f"{failure}: {_reason(error)}") from error

    def _ask(
        self,
        method: Callable[..., Any],
        request: Any,  # noqa: ANN401 - generated code
        timeout_seconds: float,
    ) -> Any:  # noqa: ANN401 - generated code
        try:
            return method(request, timeout=timeout_seconds, metadata=self._key)
        except grpc.RpcError as error:
            code = _call(error).code()
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise DeadlineError(
                    f"Triton at {self._target} did not answer within {timeout_seconds:g} s"
                ) from error
            if code is not grpc.StatusCode.UNAVAILABLE:
                raise
            # Triton says the same of a key that is missing or wrong; liveness asks for none.
            self._check_live()
            held = "the key that was sent is not its own" if self._key else "no key was found here"
            raise AccessError(
                f"Triton at {self._target} changes models for holders of its key alone, and "
                f"{held}: run this as the user and on the machine of 'bgem3 serve', or set "
                f"{VARIABLE} for both (the header is {GRPC_HEADER})"
            ) from error

    def _check_live(self) -> None:
        try:
            self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=_QUESTION_SECONDS)
        except grpc.RpcError as error:
            raise UnavailableError(
                f"there is no Triton at {self._target}: is 'bgem3 serve' running, and is this its "
                "gRPC port (--url)?"
            ) from error


def _call(error: grpc.RpcError) -> grpc.Call:
    assert isinstance(error, grpc.Call)
    return error


def _reason(error: grpc.RpcError) -> str:
    call = _call(error)
    details: str = call.details() or call.code().name
    return details.strip()
