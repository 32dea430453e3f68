"""Headers that go with requests: HTTP headers or gRPC metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bgem3_client.errors import InvalidInputError

# What both gRPC and HTTP take.
_NAME: Final = re.compile(r"[0-9A-Za-z_.-]+")
_VALUE: Final = re.compile(r"[ -~]*")


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers with names in lower case, as gRPC wants them.

    Raises:
        InvalidInputError: A name or a value is none that both protocols can send.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidInputError(
                f"not a header: {name!r} (letters, digits, '_', '-', '.'; the value in ASCII)"
            )
        if name.lower() == "transfer-encoding":
            raise InvalidInputError("the header transfer-encoding is the connection's own")
    return {name.lower(): value for name, value in headers.items()}
