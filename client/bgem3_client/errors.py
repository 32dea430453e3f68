"""What can go wrong, told apart by type.

* BgeM3Error
  + InvalidInputError        the caller's mistake; `index` names the text
  + ClientClosedError        the client was closed, or belongs to another process or event loop
  + ServerError              the server, or the way to it
    - UnavailableError       not reachable, not ready, or too busy: worth another try
      . VersionChangedError  parts of one call were answered by two versions of the model
    - DeadlineError          no answer within the time allowed
    - ModelNotFoundError     reachable, but the model is not there
    - AccessError            the server refuses this caller
    - InternalServerError    the server failed while answering
    - NotFiniteError         the model gave NaN or infinity; `index` names the text
    - ServerOutOfMemoryError not enough memory there: send fewer or shorter texts at once
    - ContractError          the server answered with something else than the contract says
"""

from __future__ import annotations

from typing import Final


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


class VersionChangedError(UnavailableError):
    """Parts of one call were answered by two versions of the model, and do not go together."""


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


class NotFiniteError(ServerError):
    """The model gave NaN or infinity for a text, and such a vector is never handed out.

    Not tried again: a model gives the same text the same numbers. The text is not to blame; a
    trunk in a wider precision (BF16 or FP32 in place of FP16) may bear it.

    Attributes:
        index: Position of the text in what the caller passed, where it is known. The others of
            that call may be sent again without it.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class ContractError(ServerError):
    """The server's answer is not what the tensor contract says (another model or version?)."""


TEXT_ERRORS: Final = (InvalidInputError, NotFiniteError)
"""What may be about one text of several, whose ``index`` then says which."""
