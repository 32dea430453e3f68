"""What a Python model can refuse or fail at; the glue turns each into one Triton error code.

* ModelError
  + InvalidRequestError      INVALID_ARGUMENT: the request cannot be answered as it stands
  + NotFiniteError           INTERNAL: the model gave NaN or infinity for a text of the request
* TrunkEngineError           the model does not load: what is asked for cannot be had here
"""

from __future__ import annotations

from collections.abc import Sequence

from bgem3_backend.contract import NOT_FINITE_MARK


class ModelError(Exception):
    """Base of what fails one request and leaves its neighbours in the batch alone."""


class InvalidRequestError(ModelError):
    """The request cannot be answered as it stands; the message says why and what to send.

    Args:
        message: What was wrong with what, and what to do.
        index: Position of the offending text in the request. It leads the message as
            ``[index=3] ``, which clients may parse; an ensemble puts its own name in front of it.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message if index is None else f"[index={index}] {message}")
        self.index = index


class NotFiniteError(ModelError):
    """A representation held NaN or infinity: the model's fault, never answered as a vector.

    Args:
        what: What held it, as in "a ColBERT vector".
        indices: Positions in the request of the texts that it was in, ascending; one at least.
            The first leads the message, as :data:`NOT_FINITE_MARK` says.
    """

    def __init__(self, what: str, indices: Sequence[int]) -> None:
        super().__init__(
            f"{NOT_FINITE_MARK}[index={indices[0]}] the model gave {what} that is not finite (NaN "
            "or infinity): the fault is the model's or its precision's, not the text's"
        )
        self.indices = tuple(indices)


class TrunkEngineError(Exception):
    """The engine that the settings ask for cannot be had on this machine."""
