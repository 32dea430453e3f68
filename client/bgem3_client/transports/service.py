"""Requests to the HTTP service in front of Triton: its own dialect, answers as NPZ."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import numpy as np
from numpy.typing import NDArray

from bgem3_backend.contract import (
    COLBERT,
    COLBERT_FP16,
    DENSE,
    FULL_TOKEN_LENGTHS,
    MAX_LENGTH_PARAMETER,
    SPARSE_INDICES,
    SPARSE_LENGTHS,
    SPARSE_VALUES,
    TOKEN_IDS,
    TOKEN_LENGTHS,
    TOKEN_STATES,
    TOKENS,
    TRUNCATE_PARAMETER,
)
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
    NotFiniteError,
    ServerError,
    ServerOutOfMemoryError,
    UnavailableError,
)
from bgem3_client.transports.base import InferRequest, InferResponse, ModelMetadata

SERVER_ERRORS: Final[Mapping[int, type[ServerError]]] = {
    401: AccessError,
    403: AccessError,
    407: AccessError,
    408: DeadlineError,
    429: UnavailableError,
    500: InternalServerError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineError,
}
"""The error for each status; others are in `_error`."""

_INVALID: Final = (400, 413, 422)
_MODES: Final = {
    DENSE.name: "dense",
    SPARSE_INDICES.name: "sparse",
    COLBERT.name: "colbert",
    COLBERT_FP16.name: "colbert",
}
# Vectors do not compress, and proxies would try.
_HEADERS: Final = {"Accept-Encoding": "identity"}
_JSON: Final = "application/json"
_NPZ: Final = "application/x-npz"
_SHOWN_CHARACTERS: Final = 200


class ServiceTransport:
    """A pool of connections to the service, opened as requests need them."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._target = address.target
        self._url = f"{'http' if address.tls is None else 'https'}://{address.target}"
        self._ssl = address.tls.ssl_context() if address.tls is not None else True
        self._headers = _HEADERS | dict(headers)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def infer(self, request: InferRequest) -> InferResponse:
        """See :class:`bgem3_client.transports.Transport`.

        Raises:
            InvalidInputError: Also for what the service does not offer: hidden states, and other
                versions of the model than the one that Triton prefers.
        """
        # Lengths alone are counted: nothing is computed for them.
        route = _COUNT_TOKENS if request.outputs == (FULL_TOKEN_LENGTHS,) else _EMBED
        body = route.body(request)
        headers = {**self._headers, "Accept": route.accept, "Content-Type": _JSON}
        headers |= request.headers
        if request.timeout_seconds is not None:
            headers["X-Timeout-Seconds"] = f"{request.timeout_seconds:.3f}"
        with self._translated():
            async with (
                asyncio.timeout(request.timeout_seconds),
                self._client().post(
                    f"{self._url}/{route.path}", data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                content = await response.read()
            if response.status != 200:
                raise _error(response, content)
            return route.read(content, request)

    async def model_metadata(
        self, model: str, model_version: str, timeout_seconds: float | None
    ) -> ModelMetadata:
        """See :class:`bgem3_client.transports.Transport`."""
        with self._translated():
            async with (
                asyncio.timeout(timeout_seconds),
                self._client().get(
                    f"{self._url}/health", headers=self._headers, allow_redirects=False
                ) as response,
            ):
                content = await response.read()
            if response.status != 200:
                raise _error(response, content)
            health = json.loads(content)
            hidden_size, colbert_size = health["dimension"], health["colbert_dimension"]
            version = health["triton"]["model_version"]
            if hidden_size is None or colbert_size is None or version is None:
                raise UnavailableError(
                    f"the service at {self._url} has not asked its model yet, or never does "
                    "(ready_interval_seconds=0), so it cannot say what the model is"
                )
            return ModelMetadata(
                model,
                (version,),
                {
                    DENSE.name: (-1, -1, hidden_size),
                    COLBERT.name: (-1, -1, colbert_size),
                    TOKEN_STATES.name: (-1, -1, hidden_size),
                },
            )

    async def close(self) -> None:
        """See :class:`bgem3_client.transports.Transport`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._closed:
            raise ClientClosedError("the connection is closed")
        if self._session is None:
            # Not in __init__: a session belongs to the event loop that it was made in. How many
            # requests run at once, and for how long, is the client's to say.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what aiohttp and the reading of answers raise into this package's errors."""
        try:
            yield
        except BgeM3Error:
            raise
        except TimeoutError as error:
            raise DeadlineError(f"no answer in time from {self._target}") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            if self._closed:
                raise ClientClosedError("the client was closed while a request ran") from error
            raise UnavailableError(
                f"{error or type(error).__name__} (to the service at {self._target})"
            ) from error
        except (
            aiohttp.ClientError,
            zipfile.BadZipFile,
            ValueError,
            TypeError,
            KeyError,
            EOFError,
        ) as error:
            raise ContractError(
                f"the answer of {self._target} cannot be read ({error!r}): is it this project's "
                "HTTP service?"
            ) from error


def _check_version(request: InferRequest) -> None:
    if request.model_version:
        raise InvalidInputError(
            "the HTTP service answers with one version of the model: leave out model_version, or "
            "use Triton's own address, grpc://host:8001"
        )


def _body(request: InferRequest) -> bytes:
    names = {tensor.name for tensor in request.outputs}
    if TOKEN_STATES.name in names:
        raise InvalidInputError(
            "the HTTP service gives no hidden states: use Triton's own address, grpc://host:8001"
        )
    _check_version(request)
    modes = {_MODES[name] for name in names & _MODES.keys()}
    # Float16 would be for dense vectors too, so it is asked for where there are none.
    half = COLBERT_FP16.name in names and DENSE.name not in names
    content = {
        "model": request.model,
        "texts": [text.decode() for text in request.texts],
        "mode": sorted(modes) or ["dense"],
        "max_length": request.parameters[MAX_LENGTH_PARAMETER],
        "truncate": request.parameters[TRUNCATE_PARAMETER],
        "return_tokens": TOKENS.name in names,
        "encoding_format": "base64_float16" if half else "float",
    }
    return json.dumps(content, ensure_ascii=False).encode()


def _answer(content: bytes, request: InferRequest) -> InferResponse:
    """Return the flat arrays of an answer as the ensemble's tensors."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    tensors = {output.name: _tensor(output.name, arrays)[np.newaxis] for output in request.outputs}
    return InferResponse(tensors, str(arrays["model_version"].item()))


def _count_body(request: InferRequest) -> bytes:
    _check_version(request)
    content = {"model": request.model, "texts": [text.decode() for text in request.texts]}
    return json.dumps(content, ensure_ascii=False).encode()


def _counts(content: bytes, request: InferRequest) -> InferResponse:
    """Return the lengths of texts as the ensemble's tensor."""
    lengths = np.array(json.loads(content)["token_lengths"], dtype=np.int32)
    return InferResponse({FULL_TOKEN_LENGTHS.name: lengths[np.newaxis]}, "")


@dataclass(frozen=True)
class _Route:
    """Where a request goes, and how it and its answer are written."""

    path: str
    accept: str
    body: Callable[[InferRequest], bytes]
    read: Callable[[bytes, InferRequest], InferResponse]


_EMBED: Final = _Route("embed", _NPZ, _body, _answer)
_COUNT_TOKENS: Final = _Route("count_tokens", _JSON, _count_body, _counts)


def _tensor(name: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if name == FULL_TOKEN_LENGTHS.name:
        # The service says which texts were cut, not how long they were: longer, at any rate.
        return arrays["token_lengths"] + arrays["truncated"].astype(np.int32)
    if name == SPARSE_LENGTHS.name:
        return np.diff(arrays["sparse_offsets"]).astype(np.int32)
    if name == COLBERT_FP16.name:
        return arrays["colbert"].astype(np.float16)
    if name == TOKEN_IDS.name:
        return arrays["input_ids"]
    if name == TOKENS.name:
        texts = zip(arrays["token_ids"].tolist(), arrays["token_texts"].tolist(), strict=True)
        encoded = {token_id: text.encode() for token_id, text in texts}
        return np.array([encoded[id_] for id_ in arrays["input_ids"].tolist()], dtype=np.object_)
    return arrays[_ARRAYS[name]]


_ARRAYS: Final = {
    tensor.name: tensor.name
    for tensor in (TOKEN_LENGTHS, DENSE, SPARSE_INDICES, SPARSE_VALUES, COLBERT)
}
"""The tensors that the service's archive has under the same name."""


def _error(response: aiohttp.ClientResponse, content: bytes) -> BgeM3Error:
    """Return the error for a refusal: by its status, and where statuses are shared by its code."""
    status = response.status
    problem = _problem(content)
    message = str(problem.get("error") or f"HTTP status {status}")
    code = problem.get("code")
    if status in _INVALID:
        return InvalidInputError(message, problem.get("index"))
    if status == 404:
        if code == "model_not_found":
            return ModelNotFoundError(message)
        return ContractError(f"{message} (is {response.url.origin()} this project's service?)")
    if code == "not_finite":
        return NotFiniteError(message, problem.get("index"))
    retry_after_seconds = _seconds(response.headers.get("Retry-After", ""))
    if code == "out_of_memory" and retry_after_seconds is None:
        return ServerOutOfMemoryError(message)
    kind = SERVER_ERRORS.get(status, InternalServerError if status > 500 else ContractError)
    if kind is UnavailableError:
        return UnavailableError(message, retry_after_seconds)
    return kind(message)


def _problem(content: bytes) -> dict[str, Any]:
    """Return the service's own description; of a proxy's page, its beginning."""
    try:
        problem = json.loads(content)
    except ValueError:
        return {"error": content[:_SHOWN_CHARACTERS].decode(errors="replace")}
    return problem if isinstance(problem, dict) else {}


def _seconds(retry_after: str) -> float | None:
    """Return a Retry-After header's seconds; None for none, or for a date."""
    return float(retry_after) if retry_after.isdecimal() else None
