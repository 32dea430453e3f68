"""MessagePack with NumPy arrays inside."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeGuard

import msgpack
import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from bgem3_server.gateway.serialization.pieces import ARRAY_PIECE_BYTES, array_pieces, response_of

_BIN_32: Final = 0xC6


def msgpack_response(content: object, media_type: str) -> Response:
    """Return ``content`` as an answer in MessagePack, in pieces where it is large.

    Args:
        content: What JSON knows; sequences, whose items may be made when they are asked for; and
            NumPy arrays, each of which becomes ``{"data": bytes, "shape": [...], "dtype":
            "<f4"}``.
        media_type: As the caller calls MessagePack.
    """
    return response_of(msgpack_pieces(content), media_type)


def msgpack_pieces(content: object) -> Iterator[bytes]:
    """Give ``content`` as MessagePack, none of the pieces large; see :func:`msgpack_response`."""
    yield from _pieces(content, msgpack.Packer(default=float))  # NumPy's float32


def _pieces(value: object, packer: msgpack.Packer) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield from _array_pieces(value, packer)
    elif isinstance(value, dict) and not _is_numbers(value):
        yield packer.pack_map_header(len(value))
        for key, item in value.items():
            yield packer.pack(key)
            yield from _pieces(item, packer)
    elif _is_nested(value):
        yield packer.pack_array_header(len(value))
        for item in value:
            yield from _pieces(item, packer)
    else:
        yield packer.pack(value)  # one value, or many flat ones


def _array_pieces(array: NDArray[Any], packer: msgpack.Packer) -> Iterator[bytes]:
    yield packer.pack_map_header(3)
    yield packer.pack("data")
    if array.nbytes <= ARRAY_PIECE_BYTES:
        yield packer.pack(array.tobytes())
    else:
        yield struct.pack(">BI", _BIN_32, array.nbytes)
        yield from array_pieces(array)
    yield packer.pack("shape")
    yield packer.pack(list(array.shape))
    yield packer.pack("dtype")
    yield packer.pack(array.dtype.str)


def _is_numbers(value: dict[str, object]) -> bool:
    """Whether it maps to numbers, like lexical weights; the first one tells."""
    return isinstance(next(iter(value.values()), None), float | np.floating)


def _is_nested(value: object) -> TypeGuard[Sequence[object]]:
    """Whether it is a list of other than plain values; the items of a list are alike."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        return False
    return len(value) > 0 and not isinstance(value[0], str | int | float)
