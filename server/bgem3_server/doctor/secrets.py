"""Keeps keys and passwords out of what is printed, wherever they come from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

_HIDDEN: Final = "***"
_VARIABLE: Final = re.compile(r"(KEY|KEYS|TOKEN|PASSWORD|SECRET)$", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]+(?=@)")
# Shorter ones are in too many words to be looked for.
_SHORTEST: Final = 6


class Secrets:
    """What must not be printed: the values of environment variables that are secrets by name.

    User names and passwords in URLs are found by their place. Messages are written without them
    in the first place; this is for those of libraries, which may repeat what they were given.
    """

    def __init__(self, environment: Iterable[tuple[str, str]] | None = None) -> None:
        values = {
            part
            for name, value in (os.environ.items() if environment is None else environment)
            if _VARIABLE.search(name)
            for part in (value, *value.split(","))
            if len(part.strip()) >= _SHORTEST
        }
        # The longest first: one may hold another.
        self._values = sorted({value.strip() for value in values}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return a text without them."""
        for value in self._values:
            text = text.replace(value, _HIDDEN)
        return _CREDENTIALS.sub(_HIDDEN, text)
