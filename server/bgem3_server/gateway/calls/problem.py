"""An error as an HTTP response, in the shape that the caller's dialect has for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from starlette.responses import Response

from bgem3_client.errors import TEXT_ERRORS, UnavailableError
from bgem3_retrieval.errors import ConditionError
from bgem3_server.gateway.calls.call import Call
from bgem3_server.gateway.calls.error_table import ErrorKind, error_kind
from bgem3_server.gateway.calls.errors import MethodError, RefusedError
from bgem3_server.gateway.dialects.dialect import Dialect

Body = dict[str, Any]

# When nobody knows better, as while Triton is restarted.
_RETRY_SECONDS: Final = 1


def problem_response(error: Exception, call: Call) -> Response:
    """Return what the caller is told of an error.

    What is the service's own fault is told by its request id alone: the reason is in the log.
    """
    kind = error_kind(error)
    text = (
        f"the service failed; its log says why, under request id {call.request_id}"
        if kind.ours
        else str(error)
    )
    # What the caller sent may be repeated in it, and not everything can be sent back.
    message = text.encode(errors="backslashreplace").decode()
    details: Body = {"code": kind.code, "request_id": call.request_id}
    if isinstance(error, TEXT_ERRORS) and error.index is not None:
        details["index"] = error.index
    if isinstance(error, ConditionError):
        details |= {"field": "where", "position": error.position}
    if isinstance(error, RefusedError):
        details |= error.figures
    headers = {}
    if isinstance(error, RefusedError | UnavailableError):
        seconds = error.retry_after_seconds
        if seconds is None and kind.status == 503:
            seconds = _RETRY_SECONDS
        if seconds is not None:
            headers["Retry-After"] = str(math.ceil(seconds))
    if isinstance(error, MethodError):
        headers["Allow"] = error.allow
    if kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        orjson.dumps(_BODIES[call.dialect](kind, message, details)),
        kind.status_for(call.dialect),
        headers,
        media_type="application/json",
    )


def _tei(kind: ErrorKind, message: str, details: Body) -> Body:
    return {"error": message, "error_type": kind.tei_type, **details}


def _openai(kind: ErrorKind, message: str, details: Body) -> Body:
    return {"error": {"message": message, "type": kind.openai_type, "param": None, **details}}


def _rerank(kind: ErrorKind, message: str, details: Body) -> Body:
    # Cohere's clients read `message`, Jina's `detail`, those of text-embeddings-inference `error`.
    return {"message": message, "detail": message, **_tei(kind, message, details)}


_BODIES: Final[Mapping[Dialect, Callable[[ErrorKind, str, Body], Body]]] = {
    # Our own shape is that of text-embeddings-inference and more: both dialects share `/embed`.
    Dialect.NATIVE: _tei,
    Dialect.TEI: _tei,
    Dialect.OPENAI: _openai,
    Dialect.RERANK: _rerank,
}
