"""What can go wrong, told apart by type.

* BgeM3Error
  + InvalidInputError        the caller's mistake; `index` names the text
  + ClientClosedError        the client was closed, or belongs to another process or event loop
  + ServerError              the server, or the way to it
    - UnavailableError       not reachable, not ready, or too busy: worth another try
    - DeadlineError          no answer within the time allowed
    - ModelNotFoundError     reachable, but the model is not there
    - AccessError            the server refuses this caller
    - InternalServerError    the server failed while answering
    - ServerOutOfMemoryError not enough memory there: send fewer or shorter texts at once
    - ContractError          the server answered with something else than the contract says
"""

from __future__ import annotations


class BgeM3Error(Exception):
    """Base of every error this project raises for its users.

    The message says what was wrong with what, and what to do; ``exit_code`` is what a command
    ends with.
    """

    exit_code: int = 1


class InvalidInputError(BgeM3Error):
    """The request cannot be answered as it stands.

    Attributes:
        index: Position of the offending text in what the caller passed, where there is one.
    """

    exit_code = 2

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class ClientClosedError(BgeM3Error):
    """The client can no longer be used, or not from here: make a new one."""


class ServerError(BgeM3Error):
    """The server, or the way to it, failed; the request itself may be fine."""


class UnavailableError(ServerError):
    """The server cannot be reached, is not ready, or has no room: the request may pass later.

    Attributes:
        retry_after_seconds: When the server says that it may; None where it does not say.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineError(ServerError):
    """No answer arrived within the time allowed."""


class ModelNotFoundError(ServerError):
    """The server answers, but has no such model or version."""


class AccessError(ServerError):
    """The server refuses this caller: credentials are missing or wrong."""


class InternalServerError(ServerError):
    """The server failed while answering."""


class ServerOutOfMemoryError(ServerError):
    """The server had not enough memory for this request; it goes on answering others.

    Not tried again by itself: send fewer or shorter texts at once, or lower the client's `Limits`.
    """


class ContractError(ServerError):
    """The server's answer is not what the tensor contract says (another model or version?)."""
