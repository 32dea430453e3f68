"""Requests over gRPC."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import grpc
from numpy.typing import NDArray
from tritonclient.grpc import (
    MAX_GRPC_MESSAGE_SIZE,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from bgem3_backend.contract import TEXT
from bgem3_client.address import Address
from bgem3_client.errors import (
    AccessError,
    BgeM3Error,
    ClientClosedError,
    ContractError,
    DeadlineError,
    InternalServerError,
    InvalidInputError,
    ModelNotFoundError,
    ServerError,
    UnavailableError,
)
from bgem3_client.transports.base import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    failure,
    numpy_type,
    refusal,
    text_tensor,
)
from bgem3_client.triton_key import key_headers

# INVALID_ARGUMENT is not here: it is the caller's mistake, and may name a text (`refusal`).
# INTERNAL may also be a lack of memory (`failure`).
SERVER_ERRORS: Final[Mapping[grpc.StatusCode, type[ServerError]]] = {
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.UNKNOWN: InternalServerError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.NOT_FOUND: ModelNotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: InternalServerError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
    grpc.StatusCode.FAILED_PRECONDITION: InternalServerError,
    grpc.StatusCode.ABORTED: UnavailableError,
    grpc.StatusCode.OUT_OF_RANGE: InternalServerError,
    grpc.StatusCode.UNIMPLEMENTED: ContractError,
    grpc.StatusCode.INTERNAL: InternalServerError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: InternalServerError,
}

_CHANNEL_ARGUMENTS: Final = [
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_SIZE),
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_SIZE),
    # gRPC waits up to two minutes between attempts to reconnect, and fails every request
    # meanwhile: a server that is back would go unnoticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Where a name has several addresses, all of them get requests, not the first alone.
    ("grpc.lb_policy_name", "round_robin"),
]


_LONGEST_CLOSE_SECONDS: Final = 30.0


class GrpcTransport:
    """An HTTP/2 connection to each address of Triton's gRPC port, opened by the first request."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address = address
        self._headers = dict(headers)
        self._credentials = _credentials(address)
        self._triton: Any = None
        self._closed = False
        self._abandoned: set[asyncio.Task[InferResult]] = set()

    async def infer(self, request: InferRequest) -> InferResponse:
        """See :class:`bgem3_client.transports.Transport`."""
        with self._translated():
            try:
                result = await self._uncancelled(
                    self._client().infer(
                        request.model,
                        [_text_input(request)],
                        model_version=request.model_version,
                        outputs=_requested_outputs(request),
                        parameters=dict(request.parameters),
                        headers={**self._headers, **request.headers},
                    ),
                    request.timeout_seconds,
                )
            except InferenceServerException as error:
                # While a Triton shuts down it has no models any more: another may take over.
                if _code(error) is grpc.StatusCode.NOT_FOUND and not await self._is_ready(request):
                    raise UnavailableError(
                        f"the server at {self._address.target} is starting or stopping: "
                        f"{error.message()}"
                    ) from error
                raise
            return InferResponse(
                {output.name: _tensor(result, output.name, request) for output in request.outputs},
                result.get_response().model_version,
            )

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """See :class:`bgem3_client.transports.Transport`."""
        with self._translated():
            metadata = await self._client().get_model_metadata(
                model, model_version, headers=self._headers, client_timeout=timeout_seconds
            )
            return ModelMetadata(
                metadata.name,
                tuple(metadata.versions),
                {output.name: tuple(output.shape) for output in metadata.outputs},
            )

    async def register_region(self, name: str, key: str, size_bytes: int) -> None:
        """See :class:`bgem3_client.transports.TritonTransport`."""
        with self._translated():
            await self._client().register_system_shared_memory(
                name, key, size_bytes, headers=self._headers | key_headers(self._address)
            )

    async def unregister_region(self, name: str) -> None:
        """See :class:`bgem3_client.transports.TritonTransport`."""
        with self._translated():
            await self._client().unregister_system_shared_memory(
                name, headers=self._headers | key_headers(self._address)
            )

    async def instance_kinds(self, model: str, timeout_seconds: float | None) -> frozenset[str]:
        """See :class:`bgem3_client.transports.TritonTransport`."""
        with self._translated():
            answer = await self._client().get_model_config(
                model, headers=self._headers, client_timeout=timeout_seconds
            )
            groups = answer.config.instance_group
            return frozenset(group.Kind.Name(group.kind) for group in groups)

    async def model_parameters(
        self, model: str, timeout_seconds: float | None
    ) -> Mapping[str, str]:
        """See :class:`bgem3_client.transports.TritonTransport`."""
        with self._translated():
            answer = await self._client().get_model_config(
                model, headers=self._headers, client_timeout=timeout_seconds
            )
            parameters = answer.config.parameters
            return {name: value.string_value for name, value in parameters.items()}

    async def close(self) -> None:
        """See :class:`bgem3_client.transports.Transport`.

        Requests that nobody waits for any more get a moment to end: closing cancels the rest.
        """
        self._closed = True
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=_LONGEST_CLOSE_SECONDS)
        if self._triton is not None:
            await self._triton.close()

    async def _uncancelled(
        self, call: Coroutine[Any, Any, InferResult], timeout_seconds: float | None
    ) -> InferResult:
        """Wait for a request; at the deadline, or when cancelled, leave it to itself.

        On the wire it is never cancelled, and it carries no deadline, which would be the same:
        Triton 24.10 never ends an ensemble's request that was cancelled, and dies of one whose
        heads are both at work.
        """
        task = asyncio.ensure_future(call)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise DeadlineError(
                f"no answer from {self._address.target} within {timeout_seconds:g} s"
            ) from error
        finally:
            if not task.done():
                self._abandoned.add(task)
                task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[InferResult]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # seen, or asyncio would report that nobody did

    def _client(self) -> Any:  # noqa: ANN401 - tritonclient has no types
        if self._closed:
            raise ClientClosedError("the connection is closed")
        if self._triton is None:
            # Not in __init__: a channel belongs to the event loop that it was made in.
            self._triton = InferenceServerClient(
                self._address.target, creds=self._credentials, channel_args=_CHANNEL_ARGUMENTS
            )
        return self._triton

    async def _is_ready(self, request: InferRequest) -> bool:
        try:
            ready: bool = await self._client().is_server_ready(
                headers={**self._headers, **request.headers},
                client_timeout=request.timeout_seconds,
            )
        except InferenceServerException as error:
            # A server that does not tell may well be ready.
            return _code(error) is not grpc.StatusCode.UNAVAILABLE
        return ready

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what tritonclient and gRPC raise into this package's errors, by code and type."""
        try:
            yield
        except BgeM3Error:
            raise
        except InferenceServerException as error:
            raise _error(error, self._address) from error
        except asyncio.CancelledError as error:
            # Closing a channel cancels the calls on it, which looks like a cancelled task.
            task = asyncio.current_task()
            if self._closed and (task is None or not task.cancelling()):
                raise ClientClosedError("the client was closed while a request ran") from error
            raise
        except grpc.aio.UsageError as error:
            raise ClientClosedError("the connection is closed") from error
        except (ValueError, TypeError, KeyError, struct.error) as error:
            raise ContractError(f"the server's answer cannot be read: {error}") from error


def _credentials(address: Address) -> grpc.ChannelCredentials | None:
    if address.tls is None:
        return None
    if address.tls.insecure:
        raise InvalidInputError(
            "gRPC always checks the server's certificate: pass it as "
            "TLS(root_certificates=...), or use https:// with TLS(insecure=True)"
        )
    return grpc.ssl_channel_credentials(
        root_certificates=address.tls.read("root_certificates"),
        private_key=address.tls.read("client_key"),
        certificate_chain=address.tls.read("client_certificate"),
    )


def _code(error: InferenceServerException) -> grpc.StatusCode | None:
    """The code that tritonclient keeps as the string ``StatusCode.NAME``."""
    name = (error.status() or "").removeprefix("StatusCode.")
    return grpc.StatusCode[name] if name else None


def _error(error: InferenceServerException, address: Address) -> BgeM3Error:
    code = _code(error)
    message = error.message() or "no reason given"
    if code is None:
        return ContractError(message)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return refusal(message)
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(
            f"{message} (gRPC to {address.target}; Triton's HTTP port needs http://)"
        )
    if code is grpc.StatusCode.INTERNAL:
        return failure(message)
    return SERVER_ERRORS[code](message)


def _text_input(request: InferRequest) -> InferInput:
    tensor = InferInput(TEXT.name, [1, len(request.texts)], "BYTES")
    tensor.set_data_from_numpy(text_tensor(request.texts))
    return tensor


def _requested_outputs(request: InferRequest) -> list[InferRequestedOutput]:
    outputs = []
    for tensor in request.outputs:
        output = InferRequestedOutput(tensor.name)
        if (placement := request.placements.get(tensor.name)) is not None:
            output.set_shared_memory(placement.region_name, placement.size_bytes)
        outputs.append(output)
    return outputs


def _tensor(result: InferResult, name: str, request: InferRequest) -> NDArray[Any]:
    placement = request.placements.get(name)
    output = result.get_output(name)
    if output is None:
        raise ContractError(f"the server's answer has no output {name!r}")
    if placement is not None:
        return placement.read(numpy_type(output.datatype), list(output.shape))
    array: NDArray[Any] = result.as_numpy(name)
    return array
