"""What can go wrong on the way from a user's files to the server and back, told apart by type.

* BgeM3Error
  + InvalidInputError
    - InputFileError         an input file cannot be read
    - RejectedLineError      a line holds no text that can be encoded
  + OutputError              the output cannot be written
  + MissingLibraryError      an optional library is not installed
  + ServerError
    - ModelChangedError      the server began to answer with another version of the model
"""

from __future__ import annotations

from bgem3_client.errors import BgeM3Error, InvalidInputError, ServerError


class InputFileError(InvalidInputError):
    """An input file cannot be read, or not to its end."""


class RejectedLineError(InvalidInputError):
    """A line holds no text that can be encoded, and the caller asked to stop at the first one."""


class OutputError(BgeM3Error):
    """The output cannot be written: no such folder, no permission, no space."""


class MissingLibraryError(BgeM3Error):
    """An optional library is not installed; the message says how to install it."""


class ModelChangedError(ServerError):
    """The server began to answer with another version of the model in the middle of the work."""
