"""What a Qdrant server's failures mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import grpc
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

# What `qdrant_client` raises for a server's or a connection's failure.
FAILURES: Final = (
    UnexpectedResponse,
    ResponseHandlingException,
    ResourceExhaustedResponse,
    grpc.RpcError,
    json.JSONDecodeError,
)
_TRANSIENT_STATUS: Final = frozenset({408, 425, 429, 502, 503, 504})
_TRANSIENT_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)
_NO_QDRANT: Final = (
    "what answers there is no Qdrant, or one of another version: look at the address"
)


@dataclass(frozen=True)
class Failure:
    """A failed request.

    Attributes:
        reason: What happened, and what can be done where that is known.
        transient: Whether the same request may succeed a moment later.
        not_found: Qdrant has no such collection.
        retry_after_seconds: How long the server asks to be left alone.
    """

    reason: str
    transient: bool = False
    not_found: bool = False
    retry_after_seconds: float = 0.0


def explain(error: Exception) -> Failure:
    """Return what one of :data:`FAILURES` means."""
    if isinstance(error, ResourceExhaustedResponse):
        return Failure(f"it is overloaded: {error}", True, retry_after_seconds=error.retry_after_s)
    if isinstance(error, UnexpectedResponse):
        return _explain_status(error)
    if isinstance(error, ResponseHandlingException):
        return _explain_source(error.source)
    if isinstance(error, grpc.RpcError):
        return _explain_code(error)
    if isinstance(error, json.JSONDecodeError):
        return Failure(_NO_QDRANT)
    raise TypeError(f"{type(error).__name__} is no failure of a server") from error


def _explain_status(error: UnexpectedResponse) -> Failure:
    status = error.status_code
    said = _said(error.content)
    if status in (401, 403):
        return Failure(_refused(f"HTTP {status}"))
    if said is None:
        return Failure(
            f"what answers there is no Qdrant (HTTP {status}), or something in front of it: look "
            "at the address",
            transient=status in _TRANSIENT_STATUS,
        )
    if status == 404:
        return Failure(said, not_found=True)
    if status == 413:
        return Failure(
            f"a point is larger than what it takes in one request ({said}): open its gRPC port, "
            "raise its limit (service.max_request_size_mb), or store fewer or pooled ColBERT "
            "vectors"
        )
    return Failure(f"HTTP {status}: {said}", transient=status in _TRANSIENT_STATUS)


def _explain_source(source: Exception) -> Failure:
    if isinstance(source, httpx.TimeoutException):
        return Failure("it did not answer in time", transient=True)
    if isinstance(source, httpx.TransportError):
        return Failure(
            f"it cannot be reached ({source}): is it running, and is that its HTTP port "
            "(Qdrant's is 6333)?",
            transient=True,
        )
    if isinstance(source, httpx.InvalidURL):
        return Failure(f"that is no URL: {source}")
    return Failure(_NO_QDRANT)


def _explain_code(error: grpc.RpcError) -> Failure:
    # What calls raise is both an `RpcError` and a `Call`, which the types do not say.
    if not isinstance(error, grpc.Call):
        return Failure(str(error))
    code, details = error.code(), error.details() or ""
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Failure(_refused(f"gRPC {code.name}"))
    if code == grpc.StatusCode.NOT_FOUND:
        return Failure(details, not_found=True)
    if code == grpc.StatusCode.UNAVAILABLE:
        return Failure(
            f"it cannot be reached (gRPC UNAVAILABLE: {details}); with ?grpc_port=0 in its address "
            "it is asked by HTTP",
            transient=True,
        )
    return Failure(
        f"gRPC {code.name}: {details} (with ?grpc_port=0 in the address it is asked by HTTP)",
        transient=code in _TRANSIENT_CODES,
    )


def _refused(status: str) -> str:
    return f"it refuses the API key, or wants one ({status}): set BGEM3_STORE_API_KEY"


def _said(content: bytes) -> str | None:
    """Return the error in Qdrant's envelope, ``{"status": {"error": …}, "time": …}``.

    None: what answered is not Qdrant.
    """
    try:
        body = json.loads(content)
    except ValueError:
        return None
    status = body.get("status") if isinstance(body, dict) else None
    if not isinstance(status, dict) or not isinstance(status.get("error"), str):
        return None
    return str(status["error"])
