"""Requests over HTTP: the KServe v2 protocol with Triton's binary tensors."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
from numpy.typing import NDArray
from tritonclient.http import (
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.http.aio import InferenceServerClient
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

SERVER_ERRORS: Final[Mapping[int, type[ServerError]]] = {
    401: AccessError,
    403: AccessError,
    404: ModelNotFoundError,
    407: AccessError,
    408: DeadlineError,
    429: UnavailableError,
    500: InternalServerError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineError,
}
"""The error for each status; others are in `_error`."""

# Triton compresses for anyone who would accept it, and aiohttp says so unless told otherwise:
# deflating vectors takes many times longer than sending them.
_HEADERS: Final = {"Accept-Encoding": "identity"}


class HttpTransport:
    """A pool of connections to Triton's HTTP port, opened as requests need them."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._address = address
        self._headers = _HEADERS | dict(headers)
        self._ssl = address.tls.ssl_context() if address.tls is not None else True
        self._triton: Any = None
        self._closed = False

    async def infer(self, request: InferRequest) -> InferResponse:
        """See :class:`bgem3_client.transports.Transport`."""
        with self._translated():
            async with asyncio.timeout(request.timeout_seconds):
                try:
                    result = await self._client().infer(
                        request.model,
                        [_text_input(request)],
                        model_version=request.model_version,
                        outputs=_requested_outputs(request),
                        parameters=dict(request.parameters),
                        # A new dict: tritonclient adds its own headers to it.
                        headers={**self._headers, **request.headers},
                    )
                except InferenceServerException as error:
                    # While a Triton shuts down it has no models any more: another may take over.
                    if error.status() == "404" and not await self._is_ready(request):
                        raise UnavailableError(
                            f"the server at {self._address.target} is starting or stopping: "
                            f"{error.message()}"
                        ) from error
                    raise
            return InferResponse(
                {output.name: _tensor(result, output.name, request) for output in request.outputs},
                result.get_response()["model_version"],
            )

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """See :class:`bgem3_client.transports.Transport`."""
        with self._translated():
            async with asyncio.timeout(timeout_seconds):
                metadata = await self._client().get_model_metadata(
                    model, model_version, headers=self._headers
                )
            return ModelMetadata(
                metadata["name"],
                tuple(metadata["versions"]),
                {output["name"]: tuple(output["shape"]) for output in metadata["outputs"]},
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
            async with asyncio.timeout(timeout_seconds):
                config = await self._client().get_model_config(model, headers=self._headers)
            return frozenset(group["kind"] for group in config["instance_group"])

    async def model_parameters(
        self, model: str, timeout_seconds: float | None
    ) -> Mapping[str, str]:
        """See :class:`bgem3_client.transports.TritonTransport`."""
        with self._translated():
            async with asyncio.timeout(timeout_seconds):
                config = await self._client().get_model_config(model, headers=self._headers)
            parameters = config.get("parameters", {})
            return {name: value["string_value"] for name, value in parameters.items()}

    async def close(self) -> None:
        """See :class:`bgem3_client.transports.Transport`."""
        self._closed = True
        if self._triton is not None:
            await self._triton.close()

    def _client(self) -> Any:  # noqa: ANN401 - tritonclient has no types
        if self._closed:
            raise ClientClosedError("the connection is closed")
        if self._triton is None:
            # Not in __init__: a session belongs to the event loop that it was made in. How many
            # requests run at once, and for how long, is the client's to say.
            self._triton = InferenceServerClient(
                self._address.target,
                conn_limit=0,
                conn_timeout=None,
                ssl=self._address.tls is not None,
                ssl_context=self._ssl,
            )
        return self._triton

    async def _is_ready(self, request: InferRequest) -> bool:
        ready: bool = await self._client().is_server_ready(
            headers={**self._headers, **request.headers}
        )
        return ready

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what tritonclient and aiohttp raise into this package's errors, by code and type."""
        try:
            yield
        except BgeM3Error:
            raise
        except InferenceServerException as error:
            raise _error(error) from error
        except TimeoutError as error:
            raise DeadlineError(f"no answer in time from {self._address.target}") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            if self._closed:
                raise ClientClosedError("the client was closed while a request ran") from error
            raise UnavailableError(
                f"{error or type(error).__name__} (HTTP to {self._address.target})"
            ) from error
        except (aiohttp.ClientError, ValueError, TypeError, KeyError, struct.error) as error:
            raise ContractError(f"the server's answer cannot be read: {error}") from error


def _error(error: InferenceServerException) -> BgeM3Error:
    message = error.message() or "no reason given"
    if error.status() is None:
        return ContractError(message)
    status = int(error.status())
    if status in (400, 422):
        return refusal(message)
    if status == 413:
        return InvalidInputError(
            f"the server takes no request of this size (lower the client's Limits): {message}"
        )
    if status == 500:
        return failure(message)
    if status in SERVER_ERRORS:
        return SERVER_ERRORS[status](message)
    if status > 500:
        return InternalServerError(message)
    return ContractError(f"HTTP status {status}, which Triton does not use: {message}")


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
        return placement.read(numpy_type(output["datatype"]), output["shape"])
    array: NDArray[Any] = result.as_numpy(name)
    return array
