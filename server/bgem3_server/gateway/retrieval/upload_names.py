"""What a file may be called that a caller sends."""

from __future__ import annotations

from typing import Final

from bgem3_client.errors import InvalidInputError
from bgem3_retrieval.documents.readers.characters import clean

_MAX_CHARACTERS: Final = 1024


def checked_name(name: str, number: int) -> str:
    r"""Return a file's name if it can be a document's source.

    It is never a path here: the file lies elsewhere, under a name of ours. All the same it is read
    as one by people and by programs that come later, so it must be a relative one that leads
    nowhere else. ``manuals/a.pdf`` is one; ``/a.pdf``, ``../a.pdf`` and ``C:\a.pdf`` are none.

    Args:
        name: As the caller sent it.
        number: Which file of the request it is, from 0; for the message.

    Raises:
        InvalidInputError: It cannot.
    """
    if reason := _reason(name):
        shown = name if len(name) <= 80 else f"{name[:80]}…"
        raise InvalidInputError(f"files[{number}]: the file name {shown!r} {reason}", number)
    return name


def _reason(name: str) -> str:
    if not name.strip():
        return "is empty"
    if len(name) > _MAX_CHARACTERS:
        return f"has {len(name)} characters, and may have {_MAX_CHARACTERS}"
    if clean(name) != name or "\n" in name or "\t" in name:
        return "holds characters that cannot be seen"
    if "\\" in name:
        return "holds a backslash: write / between folders"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "must be a relative path without '.' and '..', or a plain name"
    return ""
