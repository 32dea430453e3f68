"""Answers that are written while they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bgem3_server.gateway.operations.tracing import stage

PIECE_BYTES: Final = 64 * 1024
"""Smaller pieces are put together before they are sent. Of lexical weights it takes 1.5 ms."""

ARRAY_PIECE_BYTES: Final = 128 * 1024

Piece: TypeAlias = bytes | memoryview


def response_of(pieces: Iterable[Piece], media_type: str, status: int = 200) -> Response:
    """Return an answer whose body is made of pieces: at once, or as the caller reads it.

    Args:
        pieces: The body. The event loop waits while one is made: a millisecond or two at most.
        media_type: Of the body.
        status: HTTP status.
    """
    with stage("serialize"):
        collected = _collected(pieces)
        first, second = next(collected, b""), next(collected, None)
    if second is None:
        return Response(first, status, media_type=media_type)
    return PiecesResponse(chain((first, second), collected), media_type, status)


class PiecesResponse(Response):
    """Makes a piece when the one before has been sent: memory holds one, however slow the reader.

    The event loop serves others between any two.
    """

    def __init__(self, pieces: Iterable[bytes], media_type: str, status: int) -> None:
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self._pieces = pieces
        self.init_headers(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; see ASGI."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        with stage("serialize and send"):
            for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # `send` does not pause while the caller reads fast
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def array_pieces(array: NDArray[Any], piece_bytes: int = ARRAY_PIECE_BYTES) -> Iterator[bytes]:
    """Give the numbers of an array, row after row, as they lie in memory.

    Args:
        array: Of any shape and type.
        piece_bytes: Size of each piece but the last.
    """
    numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, len(numbers), piece_bytes):
        yield numbers[start : start + piece_bytes].tobytes()


def _collected(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Put small pieces together, and pass on large ones as they are."""
    small: list[Piece] = []
    size_bytes = 0
    for piece in pieces:
        if len(piece) >= PIECE_BYTES:
            if small:
                yield b"".join(small)
            yield bytes(piece)  # itself, unless it is a view
            small, size_bytes = [], 0
            continue
        small.append(piece)
        size_bytes += len(piece)
        if size_bytes >= PIECE_BYTES:
            yield b"".join(small)
            small, size_bytes = [], 0
    if small:
        yield b"".join(small)
