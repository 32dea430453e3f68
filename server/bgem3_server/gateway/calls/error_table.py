"""From the kind of an error to what callers see of it: the only place where that is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bgem3_client import errors as client_errors
from bgem3_retrieval import errors as retrieval_errors
from bgem3_server.gateway.calls import errors
from bgem3_server.gateway.dialects.dialect import Dialect


@dataclass(frozen=True)
class ErrorKind:
    """What one kind of error is called and answered with.

    Attributes:
        code: Our name of it, the same in every dialect.
        status: The HTTP status, unless the dialect has its own.
        openai_type: OpenAI's ``type``.
        tei_type: text-embeddings-inference's ``error_type``.
        statuses: Where a dialect's clients expect another status.
        ours: Whether it is the service's fault: the message is then for the log, and the caller
            is told the request id.
    """

    code: str
    status: int
    openai_type: str
    tei_type: str
    statuses: Mapping[Dialect, int] = field(default_factory=dict)
    ours: bool = False

    def status_for(self, dialect: Dialect) -> int:
        """Return the status that a dialect's clients expect."""
        return self.statuses.get(dialect, self.status)


# text-embeddings-inference answers what its backend could not compute with 424.
_BACKEND: Final = {Dialect.TEI: 424}
_INVALID: Final = ErrorKind(
    "invalid_input", 422, "invalid_request_error", "Validation", {Dialect.OPENAI: 400}
)
INTERNAL: Final = ErrorKind("internal_error", 500, "server_error", "Backend", _BACKEND, ours=True)

ERROR_KINDS: Final[Mapping[type[BaseException], ErrorKind]] = {
    client_errors.InvalidInputError: _INVALID,
    errors.TextTooLongError: ErrorKind(
        "text_too_long",
        422,
        "invalid_request_error",
        "Validation",
        {Dialect.OPENAI: 400, Dialect.TEI: 413},
    ),
    errors.EmptyInputError: ErrorKind(
        "empty_input",
        422,
        "invalid_request_error",
        "Empty",
        {Dialect.OPENAI: 400, Dialect.TEI: 400},
    ),
    errors.UnauthorizedError: ErrorKind(
        "unauthorized", 401, "authentication_error", "Unauthorized"
    ),
    errors.UnknownModelError: ErrorKind(
        "model_not_found", 404, "invalid_request_error", "Validation"
    ),
    errors.UnknownRouteError: ErrorKind("not_found", 404, "invalid_request_error", "Validation"),
    errors.MethodError: ErrorKind("method", 405, "invalid_request_error", "Validation"),
    errors.NotAcceptableError: ErrorKind(
        "not_acceptable", 406, "invalid_request_error", "Validation"
    ),
    errors.NotOfferedError: ErrorKind("not_offered", 501, "invalid_request_error", "Backend"),
    errors.NoStoreError: ErrorKind("no_store", 501, "invalid_request_error", "Backend"),
    retrieval_errors.CollectionNotFoundError: ErrorKind(
        "collection_not_found", 404, "invalid_request_error", "Validation"
    ),
    retrieval_errors.CollectionMismatchError: ErrorKind(
        "collection_mismatch", 409, "invalid_request_error", "Validation"
    ),
    retrieval_errors.ForeignCollectionError: ErrorKind(
        "foreign_collection", 409, "invalid_request_error", "Validation"
    ),
    retrieval_errors.StoreError: ErrorKind("store_error", 503, "server_error", "Backend"),
    errors.BodyTimeoutError: ErrorKind("body_timeout", 408, "invalid_request_error", "Validation"),
    errors.TooLargeError: ErrorKind("too_large", 413, "invalid_request_error", "Validation"),
    errors.BusyError: ErrorKind("busy", 429, "rate_limit_error", "Overloaded"),
    errors.ResultMemoryError: ErrorKind("out_of_memory", 503, "server_error", "Overloaded"),
    client_errors.ServerOutOfMemoryError: ErrorKind(
        "out_of_memory", 503, "server_error", "Overloaded"
    ),
    # Told in full, not by the request id alone: the caller can leave that text out.
    client_errors.NotFiniteError: ErrorKind("not_finite", 500, "server_error", "Backend", _BACKEND),
    errors.NotReadyError: ErrorKind("not_ready", 503, "server_error", "Unhealthy"),
    client_errors.UnavailableError: ErrorKind("not_ready", 503, "server_error", "Unhealthy"),
    client_errors.ModelNotFoundError: ErrorKind("not_ready", 503, "server_error", "Unhealthy"),
    client_errors.DeadlineError: ErrorKind("deadline_exceeded", 504, "server_error", "Backend"),
    client_errors.BgeM3Error: INTERNAL,
}


def error_kind(error: BaseException) -> ErrorKind:
    """Return the kind of an error: that of the nearest class in the table."""
    for ancestor in type(error).__mro__:
        if ancestor in ERROR_KINDS:
            return ERROR_KINDS[ancestor]
    return INTERNAL
