"""What the HTTP service itself refuses; what Triton and the texts cause is in the client's tree.

* BgeM3Error
  + RefusedError               not answered, and not wrong in its texts
    - BusyError                no room now: `retry_after_seconds`
    - ResultMemoryError        no memory for the answer now
    - TooLargeError            would never fit
    - NotReadyError            the service is starting or stopping, or Triton is away
    - UnauthorizedError        no key, or a wrong one
    - UnknownModelError        asked for a model that is not served here
    - BodyTimeoutError         the body did not arrive in time
    - UnknownRouteError        there is nothing at this path
    - MethodError              there is something, but not for this method
    - NotAcceptableError       the caller takes no form that answers have
    - NotOfferedError          this service was not set up for it
    - NoStoreError             it was told of no store to search in
  + InvalidInputError          of the client's tree: what the caller sent is wrong
    - TextTooLongError         a text is longer than allowed, and must not be cut
    - EmptyInputError          there is no text at all
"""

from __future__ import annotations

from collections.abc import Mapping

from bgem3_client.errors import BgeM3Error, InvalidInputError


class RefusedError(BgeM3Error):
    """The service does not answer this request.

    Attributes:
        figures: The numbers behind the refusal, for programs.
        retry_after_seconds: When to try again; None where trying again does not help.
    """

    def __init__(
        self,
        message: str,
        *,
        figures: Mapping[str, int | float] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.figures = dict(figures or {})
        self.retry_after_seconds = retry_after_seconds


class BusyError(RefusedError):
    """More is waiting than the service takes."""


class ResultMemoryError(RefusedError):
    """The answers that are being made or sent leave no memory for this one."""


class TooLargeError(RefusedError):
    """The request is larger than the service ever takes."""


class NotReadyError(RefusedError):
    """The service is starting or stopping, or Triton does not answer."""


class UnauthorizedError(RefusedError):
    """The request carries no key, or none that is known."""


class UnknownModelError(RefusedError):
    """The request names a model that is not served here."""


class BodyTimeoutError(RefusedError):
    """The request's body did not arrive in time."""


class UnknownRouteError(RefusedError):
    """There is nothing at the request's path."""


class MethodError(RefusedError):
    """The path answers other methods than the request's.

    Attributes:
        allow: Those that it does, separated by commas.
    """

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class NotAcceptableError(RefusedError):
    """The request's Accept header takes none of the forms that the answer can have."""


class NotOfferedError(RefusedError):
    """The service could do this, but was not set up for it."""


class NoStoreError(RefusedError):
    """The service was told of no store."""


class TextTooLongError(InvalidInputError):
    """A text has more tokens than allowed, and must not be cut."""


class EmptyInputError(InvalidInputError):
    """The request holds a list of texts, and there is none in it."""
