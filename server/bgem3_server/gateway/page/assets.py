"""The page's files, read once and kept in memory: there are few of them, and they are small."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Final

# Not `mimetypes`: that asks the machine, and a browser runs no module of a wrong type.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file as it is sent.

    Attributes:
        content: Its bytes.
        media_type: Its ``Content-Type``.
        etag: A strong validator made from the content, quotes included.
    """

    content: bytes
    media_type: str
    etag: str


def read_assets() -> Mapping[str, Asset]:
    """Return every file of ``static/`` by its path there, as in ``search/hit.js``."""
    return {path: _asset(path, content) for path, content in _below(files(__package__) / "static")}


def _below(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()


def _asset(path: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:32]
    return Asset(content, _MEDIA_TYPES[PurePath(path).suffix], f'"{digest}"')
